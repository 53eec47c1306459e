# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Stays with one running job until its end, shows what it waits for, and stops it when it breaks a limit.

    runner.wait -> Outcome     meanwhile, every check_interval_s: waits? -> progress     too long? too much log? -> stop

Judges nothing, and keeps nothing but what the job waits for.
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
    """From its start. Infinite where the runner counts: a cluster does, without what a job waits in a queue."""
    max_log_bytes: int
    cancel_grace_s: float
    check_interval_s: float = 1.0
    """How often time, log and what a job waits for are looked at: it may exceed the limits for this long."""


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
        waits_for = ""
        waiting = asyncio.ensure_future(self._runner.wait(job_id))
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=self._limits.check_interval_s)
                if waiting.done() or stopped_because is not None:
                    continue
                try:
                    waits_for = await self._show_wait(job_id, waits_for)
                except DragomanError as error:
                    # Whoever looks here sees it; for the others it is written again.
                    logger.warning("wait not kept", extra={"job": job_id, "reason": error.message})
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

    async def _show_wait(self, job_id: str, kept: str) -> str:
        """Keep what the job waits for when it is not what is shown, or not what was kept last; return it."""
        waits_for = self._runner.waits_for(job_id)
        job = self._catalogue.find(job_id)
        shown = job.progress.waits_for if job is not None and job.progress is not None else ""
        if not waits_for == shown == kept:
            await self._catalogue.progress(job_id, lambda job: job.waiting(waits_for))
            logger.info("job waits" if waits_for else "job waits no more", extra={"job": job_id, "reason": waits_for})
        return waits_for

    async def _broken_limit(self, job_id: str) -> str | None:
        job = self._catalogue.find(job_id)
        if job is None or job.start_time is None:
            return None
        if (self._clock.now() - job.start_time).total_seconds() > self._limits.max_job_s:
            return f"The job did not end within {self._limits.max_job_s:g} s of its start (max_job_s) and was stopped."
        if await self._runner.log_bytes(job_id) > self._limits.max_log_bytes:
            return f"The job wrote more than {self._limits.max_log_bytes} bytes of log (max_log_bytes) and was stopped."
        return None
