# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Jobs in a folder of this machine: every file is created whole and never changed, but for progress and announcements.

    create -> link(2) of job.json: exactly one racer wins      append -> link(2) of changes/<n>.json
    load   -> job.json + changes in order + progress.json -> restore

A crash leaves at most a temporary file (a dot name), or a folder without a record: neither is a job. One launcher works
on a folder at a time; it holds a lock that the kernel frees when it dies, however it dies.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from dragoman_common.atomic import create_exclusive, write_atomic
from dragoman_common.errors import AbortedError, FailedPreconditionError, UnavailableError
from dragoman_launcher.job import JobSpec, TrainingJob, is_job_id
from dragoman_launcher.job_folder import JobFolder
from dragoman_launcher.job_record import (
    CorruptJobError,
    change_to_json,
    progress_to_json,
    record_from_json,
    record_to_json,
    restore,
)

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


class FolderJobStore:
    """The port JobStore on a folder."""

    def __init__(self, jobs_dir: Path) -> None:
        self._jobs_dir = jobs_dir
        self._lock: int | None = None

    def lock(self) -> Self:
        """Be the only launcher on this folder until `close`, or the end of this process.

        Raises:
            FailedPreconditionError: another one is.
        """
        self._jobs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._jobs_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise FailedPreconditionError(f"Another launcher works on {self._jobs_dir}; stop it first.") from None
        self._lock = descriptor
        return self

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def create(self, spec: JobSpec) -> bool:
        return await _in_thread(self._create, spec)

    async def load(self, job_id: str) -> TrainingJob | None:
        return await _in_thread(self._load, job_id)

    async def load_all(self) -> list[TrainingJob]:
        return await _in_thread(self._load_all)

    async def append(self, job: TrainingJob) -> None:
        await _in_thread(self._append, job)

    async def keep_progress(self, job: TrainingJob) -> None:
        """As the port says; not what it waits for, which jobs of this machine never do."""
        if job.progress is not None:
            await _in_thread(write_atomic, self._folder(job.id).progress, progress_to_json(job.progress))

    async def announced(self, job_id: str, sequence: int | None = None) -> int:
        return await _in_thread(self._announced, job_id, sequence)

    def _folder(self, job_id: str) -> JobFolder:
        return JobFolder.of(self._jobs_dir, job_id)

    def _create(self, spec: JobSpec) -> bool:
        folder = self._folder(spec.id)
        folder.make(folder.changes)
        try:
            create_exclusive(folder.record, record_to_json(spec))
        except FileExistsError:
            return False
        return True

    def _load(self, job_id: str) -> TrainingJob | None:
        folder = self._folder(job_id)
        record = _read(folder.record)
        if record is None:
            return None
        changes: list[bytes] = []
        while (change := _read(folder.change(len(changes) + 1))) is not None:
            changes.append(change)
        # A hole in the numbers is not the end: somebody took a change away.
        if len(changes) != sum(not path.name.startswith(".") for path in folder.changes.iterdir()):
            raise CorruptJobError(f"The job {job_id} cannot be read: a change is missing.")
        return restore(record_from_json(record, job_id=job_id), changes, _read(folder.progress))

    def _load_all(self) -> list[TrainingJob]:
        jobs = []
        for path in self._jobs_dir.iterdir():
            if not is_job_id(path.name):
                continue
            try:
                job = self._load(path.name)
            except CorruptJobError as error:
                logger.error("job left out", extra={"job": path.name, "reason": error.message})  # noqa: TRY400  said in full
                continue
            if job is not None:
                jobs.append(job)
        return sorted(jobs, key=lambda job: (job.spec.create_time, job.id))

    def _append(self, job: TrainingJob) -> None:
        try:
            create_exclusive(self._folder(job.id).change(job.sequence), change_to_json(job))
        except FileExistsError:
            raise AbortedError(f"Job {job.id} has been changed by somebody else; read it again.") from None

    def _announced(self, job_id: str, sequence: int | None) -> int:
        path = self._folder(job_id).announced
        if sequence is not None:
            write_atomic(path, f"{sequence}\n".encode())
            return sequence
        text = (_read(path) or b"-1").strip()
        # Whatever is not a number was not written by us; announcing again is harmless.
        return int(text) if text.lstrip(b"-").isdigit() else -1


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    with _translated():
        return await asyncio.to_thread(work, *args, **kwargs)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        logger.warning("job store failed", extra={"reason": str(error)})
        raise UnavailableError(f"The launcher's job store cannot be used now ({error.strerror or error}).") from error
