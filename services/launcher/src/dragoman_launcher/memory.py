# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The ports in memory: for tests, held by the same contracts as the real ones. Nothing outlives the process."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from dragoman_common.errors import AbortedError, NotFoundError
from dragoman_launcher.job import JobSpec, TrainingJob
from dragoman_launcher.job_record import change_to_json, progress_to_json, restore
from dragoman_launcher.outcome import JobResult, Outcome, Verdict
from dragoman_launcher.recipe_check import RecipeError


class MemoryJobStore:
    def __init__(self) -> None:
        self._specs: dict[str, JobSpec] = {}
        self._changes: dict[str, list[bytes]] = defaultdict(list)
        self._progress: dict[str, bytes] = {}
        self._announced: dict[str, int] = {}

    async def create(self, spec: JobSpec) -> bool:
        if spec.id in self._specs:
            return False
        self._specs[spec.id] = spec
        return True

    async def load(self, job_id: str) -> TrainingJob | None:
        spec = self._specs.get(job_id)
        return None if spec is None else restore(spec, self._changes[job_id], self._progress.get(job_id))

    async def load_all(self) -> list[TrainingJob]:
        jobs = [job for job_id in self._specs if (job := await self.load(job_id)) is not None]
        return sorted(jobs, key=lambda job: (job.spec.create_time, job.id))

    async def append(self, job: TrainingJob) -> None:
        if len(self._changes[job.id]) != job.sequence - 1:
            raise AbortedError(f"Job {job.id} has been changed by somebody else; read it again.")
        self._changes[job.id].append(change_to_json(job))

    async def keep_progress(self, job: TrainingJob) -> None:
        if job.progress is not None:
            self._progress[job.id] = progress_to_json(job.progress)

    async def announced(self, job_id: str, sequence: int | None = None) -> int:
        if sequence is not None:
            self._announced[job_id] = sequence
        return self._announced.get(job_id, -1)


@dataclass(slots=True)
class _Run:
    log: bytearray = field(default_factory=bytearray)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: Outcome | None = None


class MemoryJobRunner:
    """Jobs that do nothing until the test says how they end. Stopping one ends it with SIGTERM at once."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._refused: set[str] = set()
        self.started: list[str] = []
        self.waits: dict[str, str] = {}
        """By job, what the test says that it waits for."""

    async def start(self, job: TrainingJob) -> None:
        if job.id not in self._runs:
            self._runs[job.id] = _Run()
            if job.id in self._refused:
                self.end(job.id, Outcome(result=None, exit="stopped before it was started"))
            else:
                self.started.append(job.id)

    async def adopt(self, job_id: str) -> bool:
        return job_id in self._runs

    async def wait(self, job_id: str) -> Outcome:
        run = self._runs[job_id]
        await run.ended.wait()
        if run.outcome is None:
            raise AssertionError("ended without an outcome")
        return run.outcome

    async def stop(self, job_id: str, grace_s: float) -> None:  # noqa: ARG002  the port's signature
        if job_id in self._runs:
            self.end(job_id, Outcome(result=None, exit="signal SIGTERM"))
        else:
            self._refused.add(job_id)

    def waits_for(self, job_id: str) -> str:
        return "" if job_id not in self._runs or self._runs[job_id].ended.is_set() else self.waits.get(job_id, "")

    async def log_bytes(self, job_id: str) -> int:
        return len(self._runs[job_id].log) if job_id in self._runs else 0

    async def read_log(self, job_id: str, offset_bytes: int, max_bytes: int) -> bytes:
        log = self._runs[job_id].log if job_id in self._runs else b""
        return bytes(log[offset_bytes : offset_bytes + max_bytes])

    def write_log(self, job_id: str, data: bytes) -> None:
        """The job writes."""
        self._runs[job_id].log += data

    def end(self, job_id: str, outcome: Outcome) -> None:
        """The job ends. A second end changes nothing."""
        run = self._runs[job_id]
        if not run.ended.is_set():
            run.outcome = outcome
            run.ended.set()

    def succeed(self, job_id: str) -> None:
        """The job ends well."""
        self.end(job_id, Outcome(result=JobResult(verdict=Verdict.SUCCEEDED), exit="exit code 0"))


class MemoryRecipeChecker:
    """Accepts every recipe that does not hold a refused text."""

    def __init__(self, refused: str = "refuse me") -> None:
        self._refused = refused
        self.num_checks = 0

    async def check(self, recipe: str) -> None:
        self.num_checks += 1
        if self._refused in recipe:
            raise RecipeError(f"recipe: {self._refused!r} is not allowed.")


class MemoryDataSets:
    """The digests of each (tenant, name), the newest last."""

    def __init__(self) -> None:
        self.digests: dict[tuple[str, str], list[str]] = {}

    async def digest(self, tenant: str, name: str, sha256: str) -> str:
        known = self.digests.get((tenant, name), [])
        if not known or (sha256 and sha256 not in known):
            raise NotFoundError(f"there is no data set {name} in the store")
        return sha256 or known[-1]


class MemoryJobEvents:
    def __init__(self) -> None:
        self.announcements: list[TrainingJob] = []

    async def announce(self, job: TrainingJob) -> None:
        self.announcements.append(job)
