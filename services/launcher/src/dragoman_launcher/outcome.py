# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a process left behind, and what that makes of its job. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from dragoman_launcher.job import MAX_MESSAGE_CHARS, Publication, TrainingJob


class Verdict(Enum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What the job itself wrote at its end."""

    verdict: Verdict
    message: str = ""
    publication: Publication | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a job's process."""

    result: JobResult | None
    """None when it wrote none, or one that does not parse."""
    exit: str
    """For a reader: "exit code 3", "signal SIGKILL", or that nobody saw it."""
    log_tail: str = ""
    """The last lines that it wrote."""


def judge(job: TrainingJob, outcome: Outcome, now: datetime, *, stopped_because: str | None = None) -> TrainingJob:
    """The job after its process has ended.

    A result that says "succeeded" counts also when somebody asked the job to stop meanwhile: what it published exists.

    Args:
        job: a running job; one that another launcher has judged stays as it is.
        outcome: how its process ended.
        now: the end's time.
        stopped_because: the limit for which the launcher itself stopped it, if it did.
    """
    if job.is_ended:
        return job
    result = outcome.result
    if result is not None and result.verdict is Verdict.SUCCEEDED:
        return job.succeed(now, result.publication)
    if job.cancel_reason is not None:
        return job.cancel(now, job.cancel_reason or "cancelled")
    if stopped_because is not None:
        return job.fail(now, _with_log(stopped_because, outcome.log_tail))
    if result is None:
        return job.fail(now, _with_log(f"The job ended without a result ({outcome.exit}).", outcome.log_tail))
    if result.verdict is Verdict.CANCELLED:
        return job.cancel(now, result.message or "The job says that it was cancelled.")
    return job.fail(now, result.message or _with_log(f"The job failed ({outcome.exit}).", outcome.log_tail))


def _with_log(text: str, log_tail: str) -> str:
    if not log_tail:
        return text
    # The end of a log says why; its beginning is what may be cut.
    room = MAX_MESSAGE_CHARS - len(text) - 32
    return f"{text} Its last lines:\n{log_tail[-room:]}"
