# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a Job and its pods say about how training ended. Pure.

    Job conditions, containers' exits, whether it was stopped -> Outcome

The trainer's exit codes say succeeded (0), failed (1, 2), told to stop (3); what it published it has reported itself.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dragoman_launcher.job_objects import CONTAINER, JOB_LABEL, QUEUE_LABEL, Manifest
from dragoman_launcher.outcome import JobResult, Outcome, Verdict

DELETED: Final = "its Kubernetes Job was deleted by somebody else, so how it ended is unknown"
STOPPED: Final = "stopped by SIGTERM, or before it was started; no exit was seen"

MAX_SAID_CHARS: Final = 500

_STARTING: Final = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended."""

    code: int
    reason: str = ""

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason not in {"", "Error", "Completed"} else ""
        if self.code > 128:
            try:
                return f"signal {signal.Signals(self.code - 128).name}{why}"
            except ValueError:
                pass
        return f"exit code {self.code}{why}"


def condition(job: Manifest, kind: str) -> Manifest | None:
    """The Job's condition of this type, when it holds."""
    for found in job.get("status", {}).get("conditions") or []:
        if found.get("type") == kind and found.get("status") == "True":
            return dict(found)
    return None


def is_finished(job: Manifest) -> bool:
    return condition(job, "Complete") is not None or condition(job, "Failed") is not None


def job_of(pod: Manifest) -> str:
    """The id of the job whose pod this is."""
    return str((pod["metadata"].get("labels") or {}).get(JOB_LABEL, ""))


def exit_of(pod: Manifest) -> Exit | None:
    """How the pod's trainer ended, None while it runs or when it never ran."""
    for status in pod.get("status", {}).get("containerStatuses") or []:
        ended = status.get("state", {}).get("terminated")
        if status.get("name") == CONTAINER and ended is not None:
            return Exit(int(ended.get("exitCode", -1)), str(ended.get("reason") or ""))
    return None


def has_log(pod: Manifest) -> bool:
    """Whether the trainer has started, so that there is a log to read."""
    for status in pod.get("status", {}).get("containerStatuses") or []:
        if status.get("name") == CONTAINER:
            return bool(status.get("state", {}).keys() & {"running", "terminated"})
    return False


def waits_for(pod: Manifest) -> str:
    """Why the pod's trainer does not start, as Kubernetes says it; empty when it starts, started, or never will."""
    status = pod.get("status", {})
    # A pod that was evicted before it started goes on saying what it waited for.
    if status.get("phase") in {"Succeeded", "Failed"}:
        return ""
    for container in status.get("containerStatuses") or []:
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason", "") not in _STARTING:
            return _said(waiting)
    for found in status.get("conditions") or []:
        if found.get("type") == "PodScheduled" and found.get("status") == "False":
            return _said(found)
    return ""


def has_started(pod: Manifest) -> bool:
    """Whether a container of the pod runs or ran."""
    return pod.get("status", {}).get("phase") in {"Running", "Succeeded", "Failed"}


def suspension(job: Manifest) -> str:
    """Why the Job has no pods yet, or no longer: it is suspended, by Kueue for want of quota; empty when it is not."""
    if not job.get("spec", {}).get("suspend") or is_finished(job):
        return ""
    queue = (job["metadata"].get("labels") or {}).get(QUEUE_LABEL, "")
    return f"suspended: in the queue {queue}; kubectl get workloads says why" if queue else "suspended"


def finished_outcome(job: Manifest, exits: Sequence[Exit], waited: str, log_tail: str) -> Outcome:
    """The end of a Job that ended itself.

    Args:
        job: complete or failed.
        exits: of its containers, the newest last.
        waited: what its pods were last waiting for, if they were.
        log_tail: the last lines of the first worker.
    """
    if condition(job, "Complete") is not None:
        return Outcome(result=JobResult(verdict=Verdict.SUCCEEDED), exit="exit code 0", log_tail=log_tail)
    failed = condition(job, "Failed") or {}
    said = f"Kubernetes says {failed.get('reason') or 'Failed'}: {failed.get('message') or ''}".rstrip(": ")
    bad = [found for found in exits if found.code != 0]
    text = f"{bad[-1]}; {said}" if bad else said + _waited(waited)
    return Outcome(result=None, exit=text, log_tail=log_tail)


def stopped_outcome(exits: Sequence[Exit], num_workers: int, waited: str, log_tail: str) -> Outcome:
    """The end of a Job that was stopped: every worker may have got to its end all the same."""
    if sum(found.code == 0 for found in exits) >= num_workers:
        return Outcome(result=JobResult(verdict=Verdict.SUCCEEDED), exit="exit code 0", log_tail=log_tail)
    bad = [found for found in exits if found.code != 0]
    if not exits:
        return Outcome(result=None, exit=STOPPED + _waited(waited), log_tail=log_tail)
    return Outcome(result=None, exit=f"{bad[-1] if bad else exits[-1]}, after SIGTERM", log_tail=log_tail)


def _waited(text: str) -> str:
    return f"; its pod waited ({text})" if text else ""


def _said(found: Manifest) -> str:
    return f"{found.get('reason') or 'waiting'}: {found.get('message') or ''}".rstrip(": ")[:MAX_SAID_CHARS]
