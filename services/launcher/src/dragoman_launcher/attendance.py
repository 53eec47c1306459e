# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Stays with one running job until its end, and brings that about when the job breaks a limit.

runner.wait || every check_interval_s: too long? too much log? -> stop -> Outcome, and why it was stopped
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from dragoman_common.clock import Clock
from dragoman_common.errors import DragomanError
from dragoman_launcher.catalogue import JobCatalogue
from dragoman_launcher.outcome import Outcome
from dragoman_launcher.ports import JobRunner

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """What ends a job that does not end itself."""

    max_job_s: float
    max_log_bytes: int
    cancel_grace_s: float
    check_interval_s: float = 1.0
    """How often time and log are looked at: a job may exceed them for this long."""


class JobAttendance:
    """Attends any number of jobs, each in a call of its own.

    Args:
        catalogue: shows the jobs.
        runner: runs them.
        limits: what ends a job.
        clock: ours.
        stop: begins to stop a job, and returns at once.
    """

    def __init__(
        self,
        *,
        catalogue: JobCatalogue,
        runner: JobRunner,
        limits: JobLimits,
        clock: Clock,
        stop: Callable[[str], None],
    ) -> None:
        self._catalogue = catalogue
        self._runner = runner
        self._limits = limits
        self._clock = clock
        self._stop = stop

    async def until_end(self, job_id: str) -> tuple[Outcome, str | None]:
        """How the started or adopted job ended, and the limit for which it was stopped, as a sentence for its owner."""
        stopped_because: str | None = None
        waiting = asyncio.ensure_future(self._runner.wait(job_id))
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=self._limits.check_interval_s)
                if waiting.done() or stopped_because is not None:
                    continue
                try:
                    stopped_because = await self._broken_limit(job_id)
                except DragomanError as error:
                    # Not known yet; it is asked again, and the job goes on.
                    logger.warning("limits not looked at", extra={"job": job_id, "reason": error.message})
                if stopped_because is not None:
                    self._stop(job_id)
            return await waiting, stopped_because
        finally:
            waiting.cancel()

    async def _broken_limit(self, job_id: str) -> str | None:
        job = self._catalogue.find(job_id)
        if job is None or job.start_time is None:
            return None
        if (self._clock.now() - job.start_time).total_seconds() > self._limits.max_job_s:
            return f"The job ran for more than {self._limits.max_job_s:g} s (max_job_s) and was stopped."
        if await self._runner.log_bytes(job_id) > self._limits.max_log_bytes:
            return f"The job wrote more than {self._limits.max_log_bytes} bytes of log (max_log_bytes) and was stopped."
        return None
