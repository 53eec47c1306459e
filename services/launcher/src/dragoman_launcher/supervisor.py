# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Carries jobs from PENDING to their end: starts them when there is room, stops them when asked.

    submit -> queue -> start -> attend (attendance.py) -> outcome -> judged, kept -> the next starts
    at start-up: what runs is adopted, what had not started waits again       at drain: what runs is cancelled
    of several launchers on one store, one is open; the others take jobs and cancellations, and `notice` what it does

Each running job has one task. What a process did is never lost for a store that is full or away: the end is written
again until it is taken, or found again by the next launcher.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

from dragoman_common.clock import Clock
from dragoman_common.errors import DragomanError, UnavailableError
from dragoman_launcher.attendance import JobAttendance, JobLimits
from dragoman_launcher.catalogue import JobCatalogue
from dragoman_launcher.job import JobState, Progress, Publication, TrainingJob
from dragoman_launcher.outcome import judge
from dragoman_launcher.patience import patiently
from dragoman_launcher.ports import JobRunner, JobStartError, JobStore
from dragoman_launcher.queue import JobQueue

DRAIN_MARGIN_S: Final = 15.0
"""What a drain waits beyond the grace: for kills to work and for the last changes to be written."""


logger = logging.getLogger(__name__)


class JobSupervisor:
    def __init__(
        self,
        *,
        catalogue: JobCatalogue,
        store: JobStore,
        runner: JobRunner,
        queue: JobQueue,
        limits: JobLimits,
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._store = store
        self._runner = runner
        self._queue = queue
        self._limits = limits
        self._clock = clock
        self._attendance = JobAttendance(
            catalogue=catalogue, runner=runner, limits=limits, clock=clock, stop=self._stop
        )
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, asyncio.Task[None]] = {}
        self._is_open = False

    async def load(self) -> None:
        """Show every kept job. Call once, before the first request."""
        for job in await self._store.load_all():
            self._catalogue.add(job)

    async def open(self) -> None:
        """Take over what runs, queue what waits, and start from now on; when jobs can reach the launcher."""
        # What others kept may not have been seen yet: a job that has ended since must not be run again.
        for job in await patiently(self._store.load_all, "jobs not read"):
            self._catalogue.take(job)
            self._count(self._catalogue.find(job.id) or job)
        for kept in self._catalogue.unended():
            # A job that this launcher noticed as running may be gone without a trace.
            self._queue.finish(kept.id)
            is_begun = await self._runner.adopt(kept.id)
            job = self._catalogue.find(kept.id) or kept
            if is_begun:
                logger.info("job adopted", extra={"job": job.id, "tenant": job.spec.tenant})
                self._queue.adopt(job.id, job.spec.tenant)
                self._attend(job.id)
            elif job.is_cancelled:
                self._end_soon(job.id)
            else:
                self._queue.push(job.id, job.spec.tenant)
        self._is_open = True
        self._start_next()

    def accept(self, job: TrainingJob) -> None:
        """Take a job that the store has just been given."""
        self._catalogue.add(job)
        self.notice(job)

    def notice(self, job: TrainingJob) -> None:
        """Take up a job as somebody has kept it: queue, start or stop it if this launcher is open, else count it."""
        job = self._catalogue.find(job.id) or job
        self._count(job)
        if not self._is_open:
            return
        if job.is_cancelled and job.id in self._tasks:
            self._stop(job.id)
        elif job.is_cancelled and job.state is JobState.PENDING:
            self._end_soon(job.id)
        self._start_next()

    def _count(self, job: TrainingJob) -> None:
        if job.id in self._tasks:
            return
        if job.state is JobState.PENDING and not job.is_cancelled:
            self._queue.push(job.id, job.spec.tenant)
        elif job.state is JobState.RUNNING:
            self._queue.adopt(job.id, job.spec.tenant)
        else:
            self._queue.withdraw(job.id)
            self._queue.finish(job.id)

    async def cancel(self, tenant: str, job_id: str, reason: str) -> TrainingJob:
        """Ask a job to stop, and return it as it is then: a running one still runs for up to the grace.

        Idempotent: an ended or already cancelled job is returned unchanged.
        """
        job = await self._catalogue.seek(tenant, job_id)
        return await self._cancel(job.id, reason or "cancelled by its owner")

    async def report(
        self, job_id: str, tenant: str, progress: Progress | None, publication: Publication | None
    ) -> TrainingJob:
        """Take what the running job says about itself.

        Raises:
            JobNotFoundError: the tenant has no such job.
            IllegalMoveError: it does not run, or says that it published a second version.
        """
        job = await self._catalogue.seek(tenant, job_id)
        if job.state is JobState.PENDING:
            # It reports, so it was started: only the note of that is still being written.
            await self._started(job_id)
        if publication is not None:
            job = await self._catalogue.change(job_id, lambda job: job.publish(self._clock.now(), publication))
        if progress is not None:
            job = await self._catalogue.progress(job_id, lambda job: job.with_progress(progress))
        return job

    async def drain(self, reason: str) -> None:
        """Start nothing more, cancel what runs, return when it has ended. What waits stays for the next launcher."""
        self._is_open = False
        tasks = dict(self._tasks)
        for job_id in tasks:
            try:
                await self._catalogue.change(job_id, lambda job: job.request_cancel(self._clock.now(), reason))
            except UnavailableError as error:
                # It is stopped all the same; the next launcher will find it gone.
                logger.warning("cancel not written", extra={"job": job_id, "reason": error.message})
            self._stop(job_id)
        if tasks:
            await asyncio.wait(tasks.values(), timeout=self._limits.cancel_grace_s + DRAIN_MARGIN_S)

    async def step_down(self) -> None:
        """Let go of the jobs, for another launcher; they still count here, and `open` takes them back."""
        self._is_open = False
        await self.close()

    async def close(self) -> None:
        """Let go of the tasks without touching the jobs: what runs goes on, as it does after a crash."""
        tasks = [*self._tasks.values(), *self._stops.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cancel(self, job_id: str, reason: str) -> TrainingJob:
        # Written first: whoever goes away afterwards, the caller or this launcher, the job is ended.
        job = await self._catalogue.change(job_id, lambda job: job.request_cancel(self._clock.now(), reason))
        # A launcher that is not open only knows that it waits: the one that is may be starting it just now.
        if self._is_open and job.state is JobState.PENDING and job_id not in self._tasks:
            self._queue.withdraw(job_id)
            await asyncio.wait({self._end_soon(job_id)})
            return self._catalogue.find(job_id) or job
        if not job.is_ended:
            self._stop(job_id)
        return job

    def _fail(self, job: TrainingJob, message: str) -> TrainingJob:
        return job if job.is_ended else job.fail(self._clock.now(), message)

    async def _end_waiting(self, job_id: str) -> None:
        await self._runner.stop(job_id, 0)
        await self._persist(job_id, lambda job: self._cancel_waiting(job, job.cancel_reason or ""))

    def _cancel_waiting(self, job: TrainingJob, reason: str) -> TrainingJob:
        return job if job.is_ended else job.cancel(self._clock.now(), reason)

    def _start_next(self) -> None:
        while self._is_open and (job_id := self._queue.take()) is not None:
            self._attend(job_id, start=True)

    def _attend(self, job_id: str, *, start: bool = False) -> None:
        # A context of its own: a job outlives the call that submitted it, and must not carry its caller and deadline.
        task = asyncio.create_task(self._run(job_id, start=start), name=f"job {job_id}", context=Context())
        self._tasks[job_id] = task
        task.add_done_callback(lambda done: self._left(job_id, done))

    def _left(self, job_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(job_id) is task:
            del self._tasks[job_id]
        if not task.cancelled():
            self._queue.finish(job_id)
            if (error := task.exception()) is not None:
                logger.error("job lost from sight", exc_info=error, extra={"job": job_id})
            self._start_next()

    async def _run(self, job_id: str, *, start: bool) -> None:
        job = self._catalogue.find(job_id)
        if job is None or job.is_ended:
            return
        if start:
            try:
                await self._runner.start(job)
            except (JobStartError, DragomanError) as error:
                text = str(error)
                await self._persist(job_id, lambda job: self._fail(job, f"The job could not be started: {text}"))
                return
        job = await self._started(job_id)
        if job.is_ended:
            # By another launcher, while this one began: what was begun is undone.
            self._stop(job_id)
            await self._runner.wait(job_id)
            return
        logger.info("job runs", extra={"job": job_id, "tenant": job.spec.tenant, "model": job.spec.model})
        if job.is_cancelled:
            self._stop(job_id)
        outcome, stopped_because = await self._attendance.until_end(job_id)
        job = await self._persist(
            job_id, lambda job: judge(job, outcome, self._clock.now(), stopped_because=stopped_because)
        )
        logger.info("job ended", extra={"job": job_id, "state": job.state.value, "exit": outcome.exit})

    async def _started(self, job_id: str) -> TrainingJob:
        return await self._persist(
            job_id, lambda job: job.start(self._clock.now()) if job.state is JobState.PENDING else job
        )

    def _stop(self, job_id: str) -> None:
        self._stop_by(f"stop {job_id}", lambda: self._runner.stop(job_id, self._limits.cancel_grace_s))

    def _end_soon(self, job_id: str) -> asyncio.Task[None]:
        # Not the same as a stop, which may be under way already: it ends no record.
        return self._stop_by(f"end {job_id}", lambda: self._end_waiting(job_id))

    def _stop_by(self, name: str, stop: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        if name not in self._stops:
            task = self._stops[name] = asyncio.create_task(stop(), name=name, context=Context())
            task.add_done_callback(self._stopped)
        return self._stops[name]

    def _stopped(self, task: asyncio.Task[None]) -> None:
        if self._stops.get(task.get_name()) is task:
            del self._stops[task.get_name()]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("job not stopped", exc_info=error, extra={"job": task.get_name().rpartition(" ")[2]})

    async def _persist(self, job_id: str, move: Callable[[TrainingJob], TrainingJob]) -> TrainingJob:
        """Change a job, waiting for a store that is full or away: what happened has happened."""
        return await patiently(lambda: self._catalogue.change(job_id, move), "job not written", job=job_id)
