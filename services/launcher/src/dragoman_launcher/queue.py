# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who waits and who runs: a bounded number of running jobs, the others in order, bounded too. Bookkeeping only."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dragoman_common.errors import OverloadedError

RETRY_AFTER_S: Final = 30.0


class JobQueue:
    """First come, first started."""

    def __init__(self, *, max_running: int, max_pending: int) -> None:
        self._max_running = max_running
        self._max_pending = max_pending
        self._reserved = 0
        self._pending: OrderedDict[str, None] = OrderedDict()
        self._running: set[str] = set()

    @property
    def num_pending(self) -> int:
        return len(self._pending)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while the job's record is written, so that no job is accepted that the queue then refuses.

        Raises:
            OverloadedError: every place is taken.
        """
        if len(self._pending) + self._reserved >= self._max_pending:
            raise OverloadedError(
                f"{self._max_pending} jobs are waiting already (max_pending); try again when some have started.",
                retry_after_s=RETRY_AFTER_S,
            )
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    def push(self, job_id: str) -> None:
        """Put an accepted job at the end. One that is here already keeps its place."""
        if job_id not in self._running:
            self._pending.setdefault(job_id)

    def take(self) -> str | None:
        """The next job to start, counted as running from now on; None when nothing waits or nothing more may run."""
        if not self._pending or len(self._running) >= self._max_running:
            return None
        job_id, _ = self._pending.popitem(last=False)
        self._running.add(job_id)
        return job_id

    def adopt(self, job_id: str) -> None:
        """Count a job that runs already. It may exceed max_running: what runs is not stopped for a new setting."""
        self._running.add(job_id)

    def withdraw(self, job_id: str) -> bool:
        """Take a waiting job out; False when it was not waiting."""
        if job_id not in self._pending:
            return False
        del self._pending[job_id]
        return True

    def finish(self, job_id: str) -> None:
        """A running job has ended: its place is free."""
        self._running.discard(job_id)
