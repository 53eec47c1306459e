# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What keeps a cluster's jobs from running: a queue, what a pod says, or that nothing has been heard of for long.

A Job whose pods a quota refuses, and a pod whose volume is missing, say so in events alone, which the launcher has no
right to read: it knows them by their silence.
"""

from collections.abc import Callable, Sequence
from typing import Final

from dragoman_launcher.job_objects import Manifest
from dragoman_launcher.job_status import has_started, is_finished, suspension, waits_for

QUIET_S: Final = 30.0
"""A pod is made, put on a node and started in less, where its image is there."""


class JobWaits:
    """Of any number of jobs.

    Args:
        monotonic_s: a clock, in s.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._quiet_since_s: dict[str, float] = {}

    def of(self, job_id: str, job: Manifest | None, pods: Sequence[Manifest]) -> str:
        """What the job waits for, empty when it does not or nothing is known.

        Args:
            job_id: its id.
            job: its Job as last seen, None before that.
            pods: its pods as last seen. A suspended Job's, where it still has any, are being taken away.
        """
        if job is None or is_finished(job):
            self._quiet_since_s.pop(job_id, None)
            return ""
        said = suspension(job) or pods_wait_for(pods)
        if said or any(map(has_started, pods)):
            self._quiet_since_s.pop(job_id, None)
            return said
        now_s = self._monotonic_s()
        if now_s - self._quiet_since_s.setdefault(job_id, now_s) < QUIET_S:
            return ""
        return f"no pod of it runs yet; kubectl describe job {job_id}, or its pod, says why: a quota or a volume, say"


def pods_wait_for(pods: Sequence[Manifest]) -> str:
    """What the first of the pods says that waits for something."""
    return next((text for pod in pods if (text := waits_for(pod))), "")
