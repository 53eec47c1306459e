# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Tells the event log of every kept change, at least once: also after a crash, and while the log is away.

    catalogue --told(job)--> set of ids to announce --run()--> JobEvents.announce --> store.announced(id, sequence)

A job whose changes come faster than the log takes them is announced with its newest one; the set holds ids, not events,
so it is never larger than the number of jobs. The event's id is job and sequence: consumers drop a repeat by it.
"""

import asyncio
import logging
from typing import Final

from dragoman_common.errors import DragomanError
from dragoman_launcher.catalogue import JobCatalogue
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.ports import JobEvents, JobStore

FIRST_RETRY_DELAY_S: Final = 1.0
MAX_RETRY_DELAY_S: Final = 30.0

logger = logging.getLogger(__name__)


class Announcer:
    def __init__(self, catalogue: JobCatalogue, store: JobStore, events: JobEvents) -> None:
        self._catalogue = catalogue
        self._store = store
        self._events = events
        self._waiting: dict[str, None] = {}
        self._told = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        # Also of what other launchers change: they may be gone before they have announced it.
        catalogue.listen(self.told, to_others=True)

    def told(self, job: TrainingJob) -> None:
        self._waiting[job.id] = None
        self._idle.clear()
        self._told.set()

    async def run(self) -> None:
        """Announce what is told, for as long as this runs. Retries with growing delays, never gives up."""
        delay_s = FIRST_RETRY_DELAY_S
        if self._waiting:
            self._told.set()
        while True:
            await self._told.wait()
            self._told.clear()
            while self._waiting:
                job_id = next(iter(self._waiting))
                try:
                    await self._announce(job_id)
                except DragomanError as error:
                    logger.warning("not announced", extra={"job": job_id, "reason": error.message, "retry_s": delay_s})
                    await asyncio.sleep(delay_s)
                    delay_s = min(2 * delay_s, MAX_RETRY_DELAY_S)
                else:
                    delay_s = FIRST_RETRY_DELAY_S
            self._idle.set()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until all that was told is announced; False when the time was not enough (the next start goes on)."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def _announce(self, job_id: str) -> None:
        # Taken out first: a change that comes while this one is written puts the job back.
        self._waiting.pop(job_id, None)
        is_done = False
        try:
            job = self._catalogue.find(job_id)
            if job is not None and job.sequence > await self._store.announced(job_id):
                await self._events.announce(job)
                await self._store.announced(job_id, job.sequence)
            is_done = True
        finally:
            # Also when this is cancelled: a launcher that leads again goes on where it was.
            if not is_done:
                self._waiting[job_id] = None
