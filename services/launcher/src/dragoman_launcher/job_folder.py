# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where a job's things lie. Paths are made here and nowhere else, from ids that we minted.

<jobs>/lock                        held by the one launcher that works on this folder
<jobs>/<id>/job.json               the record: the job exists when this does
<jobs>/<id>/changes/<n>.json       its changes, from 1
<jobs>/<id>/progress.json          the newest progress
<jobs>/<id>/announced              the last change that the event log has
<jobs>/<id>/run/process.json       who runs it: written by the process itself, once
<jobs>/<id>/run/recipe.yaml token  what it is given
<jobs>/<id>/run/log                what it writes to stdout and stderr
<jobs>/<id>/run/result.json        how it ended, written by the trainer at its end
<jobs>/<id>/run/output/            its working folder
"""

from dataclasses import dataclass
from pathlib import Path

from dragoman_common.atomic import sync_folder
from dragoman_launcher.job import is_job_id


@dataclass(frozen=True, slots=True)
class JobFolder:
    path: Path

    @classmethod
    def of(cls, jobs_dir: Path, job_id: str) -> "JobFolder":
        if not is_job_id(job_id):
            raise ValueError(f"{job_id!r} is not an id that we minted")
        return cls(jobs_dir / job_id)

    @property
    def record(self) -> Path:
        return self.path / "job.json"

    @property
    def changes(self) -> Path:
        return self.path / "changes"

    def change(self, sequence: int) -> Path:
        return self.changes / f"{sequence:06d}.json"

    @property
    def progress(self) -> Path:
        return self.path / "progress.json"

    @property
    def announced(self) -> Path:
        return self.path / "announced"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def process(self) -> Path:
        return self.run / "process.json"

    @property
    def recipe(self) -> Path:
        return self.run / "recipe.yaml"

    @property
    def token(self) -> Path:
        return self.run / "token"

    @property
    def log(self) -> Path:
        return self.run / "log"

    @property
    def result(self) -> Path:
        return self.run / "result.json"

    @property
    def output(self) -> Path:
        return self.run / "output"

    def make(self, *folders: Path) -> None:
        """Make the job's folder and these below it, for their owner only, and make their names durable."""
        for folder in (self.path, *folders):
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            sync_folder(folder.parent)
