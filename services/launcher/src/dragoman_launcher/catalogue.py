# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""All jobs in memory, as they are kept in the store; the only place that changes one.

    change(id, f): one at a time per job -> f(job) -> store.append (durable) -> visible -> watchers wake, listeners told

A watcher gets the job as it is now and again when it has changed. One that is slow misses what lies between: it
holds a flag and no queue, so it costs the same however far it falls behind.
"""

import asyncio
import base64
import binascii
from bisect import insort
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final

from dragoman_common.errors import AbortedError, InvalidArgumentError, NotFoundError, UnavailableError
from dragoman_launcher.job import Progress, TrainingJob, is_job_id
from dragoman_launcher.ports import JobStore

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1000
MAX_TRIES: Final = 8


class JobNotFoundError(NotFoundError):
    """No such job, or it is another tenant's: the two look the same."""


class JobCatalogue:
    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._jobs: dict[str, TrainingJob] = {}
        self._order: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._listeners: list[Callable[[TrainingJob], None]] = []
        self._listeners_to_others: list[Callable[[TrainingJob], None]] = []

    def listen(self, listener: Callable[[TrainingJob], None], *, to_others: bool = False) -> None:
        """Call `listener` after each change that is kept here, and `to_others` of those by others. Not for progress."""
        self._listeners.append(listener)
        if to_others:
            self._listeners_to_others.append(listener)

    def add(self, job: TrainingJob) -> None:
        """Show a job that the store has."""
        if self._add(job):
            for listener in self._listeners:
                listener(job)

    def _add(self, job: TrainingJob) -> bool:
        if job.id in self._jobs:
            return False
        self._jobs[job.id] = job
        insort(self._order[job.spec.tenant], _order_key(job))
        return True

    def take(self, job: TrainingJob) -> None:
        """Show what somebody else has kept, if it is newer than what is shown."""
        shown = self._jobs.get(job.id)
        if not self._add(job):
            self._show(job)
        if shown is None or job.sequence > shown.sequence:
            for listener in self._listeners_to_others:
                listener(self._jobs[job.id])

    def __len__(self) -> int:
        return len(self._jobs)

    def all(self) -> list[TrainingJob]:
        """All tenants' jobs, in no order. A copy, which another thread may ask for: numbers are read by one."""
        return list(self._jobs.values())

    def unended(self) -> list[TrainingJob]:
        """All tenants' jobs that have not ended, oldest first."""
        return sorted((job for job in self._jobs.values() if not job.is_ended), key=_order_key)

    def find(self, job_id: str) -> TrainingJob | None:
        """The job, whoever asks: for the launcher itself."""
        return self._jobs.get(job_id)

    def get(self, tenant: str, job_id: str) -> TrainingJob:
        """The tenant's job.

        Raises:
            JobNotFoundError: it has none of this id.
        """
        job = self._jobs.get(job_id) if is_job_id(job_id) else None
        if job is None or job.spec.tenant != tenant:
            raise JobNotFoundError(f"There is no job {job_id[:64]!r}.")
        return job

    async def look(self, job_id: str) -> TrainingJob | None:
        """As `find`; a job that is not shown is looked for in the store, where another launcher may have put it now.

        Raises:
            UnavailableError: the store does not answer.
        """
        if job_id not in self._jobs and is_job_id(job_id) and (kept := await self._store.load(job_id)) is not None:
            self.take(kept)
        return self._jobs.get(job_id)

    async def seek(self, tenant: str, job_id: str) -> TrainingJob:
        """As `get`, with a look into the store.

        Raises:
            JobNotFoundError: as `get`.
            UnavailableError: the store does not answer.
        """
        await self.look(job_id)
        return self.get(tenant, job_id)

    def page(self, tenant: str, page_size: int, page_token: str) -> tuple[list[TrainingJob], str]:
        """The tenant's jobs, newest first, and the token of the next page ("" on the last).

        Raises:
            InvalidArgumentError: the size is out of bounds, or the token is none of ours.
        """
        if not 0 <= page_size <= MAX_PAGE_SIZE:
            raise InvalidArgumentError(
                f"page_size is {page_size}; from 0 (for {DEFAULT_PAGE_SIZE}) to {MAX_PAGE_SIZE}."
            )
        before = _read_token(page_token) if page_token else None
        keys = self._order.get(tenant, [])
        older = [key for key in reversed(keys) if before is None or key < before]
        chosen = older[: page_size or DEFAULT_PAGE_SIZE]
        token = _token(chosen[-1]) if len(older) > len(chosen) else ""
        return [self._jobs[job_id] for _, job_id in chosen], token

    async def change(self, job_id: str, move: Callable[[TrainingJob], TrainingJob]) -> TrainingJob:
        """Change a job: what `move` returns is durable when this returns. The same job returned changes nothing.

        Raises:
            UnavailableError: the store did not take it; the job is as before.
        """
        # A caller that goes away while the change is written must not leave the memory behind the disk.
        return await asyncio.shield(asyncio.ensure_future(self._change(job_id, move)))

    async def _change(self, job_id: str, move: Callable[[TrainingJob], TrainingJob]) -> TrainingJob:
        async with self._locks[job_id]:
            job = self._jobs[job_id]
            moved = move(job)
            if moved is job:
                return job
            for _ in range(MAX_TRIES):
                try:
                    await self._store.append(moved)
                    break
                except AbortedError:
                    # An earlier try was kept although it raised, or another launcher was first: take that, and move
                    # from there. What was kept is told of even if there is no move from it.
                    kept = await self._store.load(job_id)
                    if kept is None:
                        raise
                    self.take(kept)
                    job = self._jobs[job_id]
                    moved = move(job)
                    if moved is job:
                        return job
            else:
                raise UnavailableError(f"Job {job_id} is changed by others all the time; try again.")
            self._show(moved)
        for listener in self._listeners:
            listener(moved)
        return moved

    async def progress(self, job_id: str, move: Callable[[TrainingJob], TrainingJob]) -> TrainingJob:
        """As `change` for what is replaced and not numbered."""
        async with self._locks[job_id]:
            job = self._jobs[job_id]
            moved = move(job)
            if moved is job:
                return job
            self._show(moved)
            await self._store.keep_progress(moved)
        return moved

    async def watch(self, tenant: str, job_id: str) -> AsyncIterator[TrainingJob]:
        """The job now, and at each change, until it has ended."""
        shown = self.get(tenant, job_id)
        changed = asyncio.Event()
        self._watchers[job_id].add(changed)
        try:
            yield shown
            while not shown.is_ended:
                await changed.wait()
                changed.clear()
                shown = self._jobs[job_id]
                yield shown
        finally:
            self._watchers[job_id].discard(changed)
            if not self._watchers[job_id]:
                del self._watchers[job_id]

    async def ended(self, job_id: str) -> TrainingJob:
        """Return the job when it has ended."""
        async for job in self.watch(self._jobs[job_id].spec.tenant, job_id):
            if job.is_ended:
                break
        return self._jobs[job_id]

    def _show(self, job: TrainingJob) -> None:
        shown = self._jobs[job.id]
        # What is told twice, or late, takes nothing back.
        newer = shown if shown.sequence > job.sequence else job
        self._jobs[job.id] = replace(newer, progress=_newest(shown.progress, job.progress))
        for changed in self._watchers.get(job.id, ()):
            changed.set()


def _newest(one: Progress | None, other: Progress | None) -> Progress | None:
    if one is None or other is None:
        return other if one is None else one
    return one if one.report_time > other.report_time else other


def _order_key(job: TrainingJob) -> tuple[str, str]:
    return job.spec.create_time.isoformat(timespec="microseconds"), job.id


def _token(key: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode("|".join(key).encode()).decode()


def _read_token(token: str) -> tuple[str, str]:
    try:
        time, separator, job_id = base64.urlsafe_b64decode(token.encode()).decode().partition("|")
    except (binascii.Error, UnicodeError):
        time, separator, job_id = "", "", ""
    if not separator or not is_job_id(job_id):
        raise InvalidArgumentError("page_token is none that ListJobs returned.")
    return time, job_id
