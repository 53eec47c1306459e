# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who waits and who runs: a bounded number of running jobs, the others in order, bounded too. Bookkeeping only.

Of each tenant its quota's number, besides: a job whose tenant has enough running lets those behind it pass.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dragoman_common.errors import OverloadedError
from dragoman_launcher.quota import Quotas

RETRY_AFTER_S: Final = 30.0


class JobQueue:
    """First come, first started, within the quotas.

    Args:
        max_running: jobs at once.
        max_pending: jobs that wait.
        quotas: what one tenant may have of both.
        gpus_of_a_job: how many GPUs each running job takes.
    """

    def __init__(
        self, *, max_running: int, max_pending: int, quotas: Quotas | None = None, gpus_of_a_job: int = 0
    ) -> None:
        self._max_running = max_running
        self._max_pending = max_pending
        self._quotas = quotas or Quotas()
        self._gpus_of_a_job = gpus_of_a_job
        self._reserved: Counter[str] = Counter()
        self._pending: OrderedDict[str, str] = OrderedDict()
        self._running: dict[str, str] = {}

    @property
    def num_pending(self) -> int:
        return len(self._pending)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @contextmanager
    def place(self, tenant: str) -> Iterator[None]:
        """Hold a place while the job's record is written, so that no job is accepted that the queue then refuses.

        Raises:
            OverloadedError: every place is taken, or the tenant's quota is; the text names the limit.
        """
        if len(self._pending) + self._reserved.total() >= self._max_pending:
            raise OverloadedError(
                f"{self._max_pending} jobs are waiting already (max_pending); try again when some have started.",
                retry_after_s=RETRY_AFTER_S,
            )
        self._check_quota(tenant)
        self._reserved[tenant] += 1
        try:
            yield
        finally:
            self._reserved[tenant] -= 1

    def push(self, job_id: str, tenant: str) -> None:
        """Put an accepted job at the end. One that is here already keeps its place."""
        if job_id not in self._running:
            self._pending.setdefault(job_id, tenant)

    def take(self) -> str | None:
        """The next job to start, counted as running from now on; None when nothing waits or nothing more may run."""
        if len(self._running) >= self._max_running:
            return None
        running = Counter(self._running.values())
        for job_id, tenant in self._pending.items():
            limit = self._quotas.of(tenant).num_running(self._gpus_of_a_job)
            if limit is None or running[tenant] < limit:
                del self._pending[job_id]
                self._running[job_id] = tenant
                return job_id
        return None

    def adopt(self, job_id: str, tenant: str) -> None:
        """Count a job that runs already. It may exceed the limits: what runs is not stopped for a new setting."""
        self._pending.pop(job_id, None)
        self._running[job_id] = tenant

    def withdraw(self, job_id: str) -> bool:
        """Take a waiting job out; False when it was not waiting."""
        if job_id not in self._pending:
            return False
        del self._pending[job_id]
        return True

    def finish(self, job_id: str) -> None:
        """A running job has ended: its place is free."""
        self._running.pop(job_id, None)

    def _check_quota(self, tenant: str) -> None:
        quota = self._quotas.of(tenant)
        if quota.num_running(self._gpus_of_a_job) == 0:
            what = (
                f"{quota.gpus} GPUs (gpus), and each job takes {self._gpus_of_a_job}"
                if quota.running != 0
                else "0 running jobs (running)"
            )
            raise OverloadedError(f"The quota of tenant {tenant} is {what}.", retry_after_s=None)
        num_pending = sum(owner == tenant for owner in self._pending.values()) + self._reserved[tenant]
        if quota.pending is not None and num_pending >= quota.pending:
            raise OverloadedError(
                f"{num_pending} jobs of tenant {tenant} are waiting already, which is its quota (pending); try again "
                "when some have started.",
                retry_after_s=RETRY_AFTER_S,
            )
