# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The training job: what was asked for (never changes) and what became of it (moves only along the allowed arrows).

    PENDING --> RUNNING --> SUCCEEDED | FAILED | CANCELLED
       `-----------------------------> FAILED (cannot be started) | CANCELLED

Pure values: no clock, no disk, no process. Each change that must survive a crash makes a job with the next sequence
number, which is what the store keeps; progress has no number and only its newest value counts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from dragoman_common.errors import FailedPreconditionError, InvalidArgumentError

MAX_MESSAGE_CHARS: Final = 4096
MAX_REASON_CHARS: Final = 1024
MAX_METRICS: Final = 64
MAX_NAME_CHARS: Final = 64

_ID: Final = re.compile(r"job-[0-9a-f]{32}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class JobState(Enum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_ended(self) -> bool:
        return not NEXT[self]


NEXT: Final[Mapping[JobState, frozenset[JobState]]] = MappingProxyType(
    {
        JobState.PENDING: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
        JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
        JobState.SUCCEEDED: frozenset(),
        JobState.FAILED: frozenset(),
        JobState.CANCELLED: frozenset(),
    }
)
"""The only moves there are. A state with no next one has ended for good."""


class IllegalMoveError(FailedPreconditionError):
    """The job's state does not allow this."""


def job_id(tenant: str, request_id: str) -> str:
    """The id of the job that this tenant's request makes: always the same one, and safe as a file name.

    Because the id follows from the request, "create this folder's record if it is absent" is the whole of idempotency:
    there is no index beside the record that a crash could leave behind.
    """
    # The length keeps ("a", "bc") and ("ab", "c") apart.
    return "job-" + sha256(f"{len(tenant)}:{tenant}:{request_id}".encode()).hexdigest()[:32]


def is_job_id(text: str) -> bool:
    """Whether the text has the form of an id that we mint; anything else never reaches a path."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What was asked for. Written once."""

    tenant: str
    request_id: str
    model: str
    recipe: str
    """The recipe as submitted, YAML."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    effective_recipe: str
    """The recipe with the overrides applied: what the trainer gets."""
    submitted_by: str
    create_time: datetime

    @property
    def id(self) -> str:
        return job_id(self.tenant, self.request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the running job last said about itself. The ETA is its own estimate; the launcher passes it through."""

    stage: str = ""
    epoch: int = 0
    num_epochs: int = 0
    step: int = 0
    num_steps: int = 0
    eta: timedelta | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    waits_for: str = ""
    """What keeps its process from running now, which the launcher adds; a report of the job says that it runs."""
    report_time: datetime

    def __post_init__(self) -> None:
        if len(self.stage) > MAX_NAME_CHARS:
            raise InvalidArgumentError(f"progress.stage has {len(self.stage)} characters; at most {MAX_NAME_CHARS}.")
        for name in ("epoch", "num_epochs", "step", "num_steps"):
            if getattr(self, name) < 0:
                raise InvalidArgumentError(f"progress.{name} is negative.")
        if self.eta is not None and self.eta < timedelta(0):
            raise InvalidArgumentError("progress.eta is negative.")
        if len(self.metrics) > MAX_METRICS:
            raise InvalidArgumentError(f"progress.metrics has {len(self.metrics)} entries; at most {MAX_METRICS}.")
        if any(not 0 < len(name) <= MAX_NAME_CHARS for name in self.metrics):
            raise InvalidArgumentError(f"progress.metrics: a name must have 1 to {MAX_NAME_CHARS} characters.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """The version that the job published."""

    version: int
    root_sha256: str

    def __post_init__(self) -> None:
        if self.version < 1:
            raise InvalidArgumentError(f"published_version is {self.version}; versions start at 1.")
        if not _SHA256.fullmatch(self.root_sha256):
            raise InvalidArgumentError("published_root_sha256 must be 64 lower-case hexadecimal digits.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """A job at one moment. Every method returns the job after the change and leaves this one as it is."""

    spec: JobSpec
    sequence: int = 0
    """How many changes were kept; 0 for a job that was only created."""
    state: JobState = JobState.PENDING
    message: str = ""
    change_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    cancel_reason: str | None = None
    """Set when somebody asked it to stop; it may still be running."""
    publication: Publication | None = None
    progress: Progress | None = None

    @classmethod
    def created(cls, spec: JobSpec) -> "TrainingJob":
        return cls(spec=spec, change_time=spec.create_time)

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def is_ended(self) -> bool:
        return self.state.is_ended

    @property
    def is_cancelled(self) -> bool:
        return self.cancel_reason is not None

    def start(self, now: datetime) -> "TrainingJob":
        return replace(self._moved(JobState.RUNNING, now), start_time=now)

    def succeed(self, now: datetime, publication: Publication | None = None) -> "TrainingJob":
        moved = self._ended(JobState.SUCCEEDED, now, "")
        return moved if publication is None else replace(moved, publication=self._agreed(publication))

    def fail(self, now: datetime, message: str) -> "TrainingJob":
        return self._ended(JobState.FAILED, now, message)

    def cancel(self, now: datetime, message: str) -> "TrainingJob":
        return self._ended(JobState.CANCELLED, now, message)

    def request_cancel(self, now: datetime, reason: str) -> "TrainingJob":
        """Note that it should stop. The first reason stands; asking again, or asking an ended job, changes nothing."""
        if self.is_ended or self.is_cancelled:
            return self
        return replace(self._changed(now), cancel_reason=reason[:MAX_REASON_CHARS])

    def publish(self, now: datetime, publication: Publication) -> "TrainingJob":
        """Note the published version. Saying the same again changes nothing.

        Raises:
            IllegalMoveError: it published another version before, or it does not run.
        """
        if self._agreed(publication) == self.publication:
            return self
        if self.state is not JobState.RUNNING:
            raise IllegalMoveError(f"Job {self.id} is {self.state.value}; only a running job publishes.")
        return replace(self._changed(now), publication=publication)

    def with_progress(self, progress: Progress) -> "TrainingJob":
        """Take the newest progress.

        Raises:
            IllegalMoveError: it does not run.
        """
        if self.state is not JobState.RUNNING:
            raise IllegalMoveError(f"Job {self.id} is {self.state.value}; only a running job reports progress.")
        return replace(self, progress=progress)

    def waiting(self, waits_for: str) -> "TrainingJob":
        """Note what keeps its process from running, "" for nothing; what it last reported stays. Only while it runs."""
        if self.state is not JobState.RUNNING:
            return self
        # Of a job that has not reported: earlier than any report, by whichever launcher's clock.
        progress = self.progress or Progress(report_time=self.start_time or self.change_time)
        return replace(self, progress=replace(progress, waits_for=waits_for[:MAX_MESSAGE_CHARS]))

    def _agreed(self, publication: Publication) -> Publication:
        if self.publication is not None and self.publication != publication:
            raise IllegalMoveError(f"Job {self.id} has already published version {self.publication.version}.")
        return publication

    def _changed(self, now: datetime) -> "TrainingJob":
        return replace(self, sequence=self.sequence + 1, change_time=now)

    def _moved(self, state: JobState, now: datetime) -> "TrainingJob":
        if state not in NEXT[self.state]:
            raise IllegalMoveError(f"Job {self.id} is {self.state.value}; it cannot become {state.value}.")
        return replace(self._changed(now), state=state)

    def _ended(self, state: JobState, now: datetime, message: str) -> "TrainingJob":
        return replace(self._moved(state, now), end_time=now, message=message[:MAX_MESSAGE_CHARS])
