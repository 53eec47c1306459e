# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the launcher needs from outside: a place for jobs, something to run them, the trainer's word, an event log.

All of them are held by the contract tests in contracts.py where more than one implementation exists.
"""

from typing import Protocol

from dragoman_launcher.job import JobSpec, TrainingJob
from dragoman_launcher.outcome import Outcome


class JobStore(Protocol):
    """Jobs as they are kept. What was written stays; a call that returned is durable.

    Every method raises UnavailableError when the store cannot be read or written (a full disk, for instance): nothing
    half-written is ever read back, and the call may be repeated.
    """

    async def create(self, spec: JobSpec) -> bool:
        """Keep a new job if its (tenant, request id) has none. Among any number of racers exactly one gets True."""
        ...

    async def load(self, job_id: str) -> TrainingJob | None:
        """The job as kept, or None when there is none.

        Raises:
            CorruptJobError: what is kept does not parse.
        """
        ...

    async def load_all(self) -> list[TrainingJob]:
        """Every job that parses, oldest first. A half-written one is none; a corrupt one is logged and left out."""
        ...

    async def append(self, job: TrainingJob) -> None:
        """Keep a change, under the job's sequence number.

        Raises:
            AbortedError: that number exists: somebody else changed the job.
        """
        ...

    async def keep_progress(self, job: TrainingJob) -> None:
        """Replace the kept progress; the newest counts."""
        ...

    async def announced(self, job_id: str, sequence: int | None = None) -> int:
        """The last change that the event log has, -1 for none; with `sequence`, note that first."""
        ...


class JobStartError(Exception):
    """The job cannot be started. The text says why, for its owner."""


class JobRunner(Protocol):
    """Runs each job at most once, ever: a second start of a job, by whomever, takes over what the first one started."""

    async def start(self, job: TrainingJob) -> None:
        """Start the job's process.

        Raises:
            JobStartError: it cannot run here.
        """
        ...

    async def adopt(self, job_id: str) -> bool:
        """Take over a job that was started earlier, also by a launcher that has gone, whether it still runs or not.

        Returns:
            False when it was never started.
        """
        ...

    async def wait(self, job_id: str) -> Outcome:
        """How the started or adopted job ended, as soon as it has, and nothing of it runs any more."""
        ...

    async def stop(self, job_id: str, grace_s: float) -> None:
        """Ask everything that the job runs to end, and kill what still runs after the grace.

        Idempotent; returns when nothing runs. A job that was never started can not start afterwards.
        """
        ...

    def waits_for(self, job_id: str) -> str:
        """What keeps the job's process from running now, for its owner; empty when nothing does, or it is not known."""
        ...

    async def log_bytes(self, job_id: str) -> int:
        """How much the job has written to its log; 0 when it was not started."""
        ...

    async def read_log(self, job_id: str, offset_bytes: int, max_bytes: int) -> bytes:
        """A piece of the log, empty at or behind its end."""
        ...


class RecipeChecker(Protocol):
    """The trainer's own opinion on a recipe."""

    async def check(self, recipe: str) -> None:
        """Return when the trainer can run the recipe.

        Raises:
            InvalidArgumentError: it cannot; the text names the key and what is allowed.
            UnavailableError: the checker did not answer.
        """
        ...


class DataSets(Protocol):
    """The data sets in the registry's store."""

    async def digest(self, tenant: str, name: str, sha256: str) -> str:
        """The digest of the tenant's newest data set of a name, or the given one when there is such a one.

        Raises:
            NotFoundError: there is none.
            UnavailableError: the registry does not answer.
        """
        ...


class JobEvents(Protocol):
    """Where changes are announced to everybody else."""

    async def announce(self, job: TrainingJob) -> None:
        """Write the job's newest change, under an id that repeats when this is repeated.

        Raises:
            UnavailableError: the event log does not take it now.
        """
        ...
