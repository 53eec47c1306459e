# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The contracts of the launcher's ports, on the fakes and on the real ones."""

import os
from pathlib import Path

import pytest

from dragoman_launcher.contracts import JobRunnerContract, JobStoreContract, spec
from dragoman_launcher.folder_store import FolderJobStore
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.memory import MemoryJobRunner, MemoryJobStore
from dragoman_launcher.outcome import Outcome
from dragoman_launcher.process import ProcessJobRunner
from dragoman_launcher.trainer_environment import Places

KINDS = """
if "run on" in recipe:
    open("runs", "w").close()
    while True:
        time.sleep(60)
print("hello")
if "succeed" in recipe:
    finish("succeeded")
else:
    raise SystemExit(3)
"""


class TestMemoryJobStore(JobStoreContract):
    @pytest.fixture
    def store(self):
        return MemoryJobStore()

    def reopened(self, store):
        return store


class TestFolderJobStore(JobStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        self.folder = tmp_path / "jobs"
        self.folder.mkdir()
        return FolderJobStore(self.folder)

    def reopened(self, store):
        return FolderJobStore(self.folder)


class TestMemoryJobRunner(JobRunnerContract):
    @pytest.fixture
    def runner(self):
        return MemoryJobRunner()

    async def started(self, runner, kind):
        job = TrainingJob.created(spec(kind))
        await runner.start(job)
        if job.id in runner.started and kind != "run on":
            runner.write_log(job.id, b"hello\n")
            if kind == "succeed":
                runner.succeed(job.id)
            else:
                runner.end(job.id, Outcome(result=None, exit="exit code 3"))
        return job


class TestProcessJobRunner(JobRunnerContract):
    @pytest.fixture
    async def runner(self, tmp_path, trainer, eventually):
        self.eventually = eventually
        self.jobs: Path = tmp_path / "jobs"
        self.jobs.mkdir()
        runner = ProcessJobRunner(
            jobs_dir=self.jobs,
            command=trainer(KINDS),
            places=lambda: Places(data_dir="/data", launcher_target="127.0.0.1:1", registry_target="127.0.0.1:2"),
            token=lambda job: f"token of {job.id}",
            environ=os.environ,
        )
        yield runner
        runner.close()

    async def started(self, runner, kind):
        job = TrainingJob.created(spec(kind, effective_recipe=kind))
        await runner.start(job)
        if kind == "run on":
            await self.eventually((self.jobs / job.id / "run/output/runs").exists, "the job runs")
        return job
