# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Jobs as Kubernetes Jobs: the port JobRunner.

    start: stopped before? nothing. else Service, Job, each create-only -> stopped meanwhile? Job deleted
    adopt: is there a Job, or a stop mark?
    wait:  watched Job complete, failed or gone -> rest of the log -> Service deleted -> Outcome
    stop:  stop mark (create-only, stays) -> Job deleted with its pods -> gone

The cluster is the state: nothing here must survive a restart. One launcher at a time starts, waits and archives
(lease.py); each may stop a job and read its log. Start and stop write first and look afterwards, so that of two that
race at least one sees the other. A server that does not answer is asked until it does (patience.py).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_launcher.cluster_api import ClusterApi, RefusedError
from dragoman_launcher.cluster_logs import ClusterLog
from dragoman_launcher.cluster_watch import ClusterWatch, Pulse
from dragoman_launcher.job import JobSpec, TrainingJob
from dragoman_launcher.job_annotation import record_text, recorded_spec
from dragoman_launcher.job_objects import (
    JOB_LABEL,
    MAX_RECIPE_BYTES,
    ROLE_LABEL,
    SELECTOR,
    STOP_SUFFIX,
    JobObjects,
    JobTerms,
    Manifest,
    job_objects,
    stop_mark,
)
from dragoman_launcher.job_record import CorruptJobError
from dragoman_launcher.job_status import (
    DELETED,
    Exit,
    exit_of,
    finished_outcome,
    is_finished,
    job_of,
    stopped_outcome,
)
from dragoman_launcher.job_waits import JobWaits, pods_wait_for
from dragoman_launcher.jobs_url import ClusterSettings
from dragoman_launcher.open_logs import OpenLogs
from dragoman_launcher.outcome import Outcome
from dragoman_launcher.patience import patiently
from dragoman_launcher.pod_archive import PodArchive
from dragoman_launcher.ports import JobStartError
from dragoman_launcher.trainer_environment import Places

STOP_MARGIN_S: Final = 60.0
"""What a stop waits beyond the grace: for the kubelet to kill, and the controllers to clear away."""
LOG_WAIT_S: Final = 30.0
"""How long an ended job's outcome waits for the rest of its log."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Followed:
    log: ClusterLog
    archive: PodArchive
    archiving: asyncio.Task[None]
    kept_before: int = 0
    """Bytes of the log that were kept when the archive began."""
    exits: dict[str, Exit] = field(default_factory=dict)
    """By pod, of pods that have gone."""
    waited: str = ""
    """What a pod of it was last waiting for."""
    outcome: Outcome | None = None
    ending: asyncio.Lock = field(default_factory=asyncio.Lock)


class KubernetesJobRunner:
    """Runs jobs in a namespace. It takes every Job with its label for its own.

    Args:
        api: the cluster.
        cluster: what all jobs have in common.
        terms: the launcher's limits.
        places: where the job finds the platform, asked at each start.
    """

    def __init__(
        self,
        *,
        api: ClusterApi,
        cluster: ClusterSettings,
        terms: JobTerms,
        places: Callable[[], Places],
    ) -> None:
        self._api = api
        self._cluster = cluster
        self._terms = terms
        self._places = places
        self._pulse = Pulse()
        self._jobs = ClusterWatch(api, "Job", SELECTOR, self._pulse, lambda _job: None)
        self._pods = ClusterWatch(api, "Pod", SELECTOR, self._pulse, self._pod_gone)
        self._followed: dict[str, _Followed] = {}
        self._logs_read = OpenLogs(api)
        self._waits = JobWaits(time.monotonic)
        self._watching: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin to watch. Call once, before anything else."""
        self._watching = [asyncio.create_task(watch.run()) for watch in (self._jobs, self._pods)]

    async def close(self) -> None:
        """Stop following; what runs goes on."""
        await self.release()
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await self._api.close()

    async def release(self) -> None:
        """Leave the jobs to another launcher, which adopts them."""
        tasks = [followed.archiving for followed in self._followed.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._followed.clear()

    async def recorded(self) -> list[JobSpec]:
        """The records that the cluster's Jobs carry: what a launcher without its store would not know of.

        Raises:
            UnavailableError: the cluster does not answer, or does not let us.
        """
        specs = []
        for job in (await self._api.list("Job", f"{SELECTOR},{ROLE_LABEL}=training")).get("items") or []:
            try:
                spec = recorded_spec(job)
            except CorruptJobError as error:
                logger.error("job left out", extra={"job": job["metadata"]["name"], "reason": error.message})  # noqa: TRY400  said in full
                continue
            if spec is not None:
                specs.append(spec)
        return specs

    async def start(self, job: TrainingJob) -> None:
        if len(job.spec.effective_recipe.encode()) > MAX_RECIPE_BYTES:
            raise JobStartError(f"its recipe has more than {MAX_RECIPE_BYTES} bytes, which no pod can be given")
        objects = job_objects(job, self._cluster, self._terms, self._places(), record=record_text(job.spec))
        try:
            await patiently(lambda: self._create(job.id, objects))
        except RefusedError as error:
            with suppress(RefusedError, UnavailableError):
                await self._clear(job.id)
            raise JobStartError(f"the cluster does not take it: {error}") from error
        self._follow(job.id)

    async def adopt(self, job_id: str) -> bool:
        if job_id in self._followed:
            return True
        for name in (job_id, job_id + STOP_SUFFIX):
            if await self._found(name) is not None:
                self._follow(job_id)
                return True
        return False

    async def wait(self, job_id: str) -> Outcome:
        followed = self._followed[job_id]
        async with followed.ending:
            if followed.outcome is None:
                followed.outcome = await self._end(job_id, followed)
            return followed.outcome

    async def stop(self, job_id: str, grace_s: float) -> None:
        job = await self._found(job_id)
        if job is not None and is_finished(job):
            return
        try:
            await patiently(lambda: self._api.create(stop_mark(job_id, self._cluster)))
        except RefusedError as error:
            # A quota, say. What runs is stopped all the same; only a start still under way is not refused.
            logger.error("stop not marked", extra={"job": job_id, "reason": str(error)})  # noqa: TRY400  said in full
        await patiently(lambda: self._api.delete("Job", job_id, wait_for_pods=True))
        try:
            async with asyncio.timeout(grace_s + STOP_MARGIN_S):
                await self._gone(job_id)
        except TimeoutError:
            logger.error("job cannot be stopped", extra={"job": job_id})  # noqa: TRY400  the time says all

    def waits_for(self, job_id: str) -> str:
        return self._waits.of(job_id, self._jobs.objects.get(job_id), self._pods_of(job_id))

    async def log_bytes(self, job_id: str) -> int:
        followed = self._followed.get(job_id)
        if followed is None:
            return await self._logs(job_id).num_bytes()
        # From memory: it is asked every second, of every job that runs.
        return followed.kept_before + followed.archive.num_bytes

    async def read_log(self, job_id: str, offset_bytes: int, max_bytes: int) -> bytes:
        return await self._logs(job_id).read(offset_bytes, max_bytes)

    def _logs(self, job_id: str) -> ClusterLog:
        # A followed one's stays open.
        followed = self._followed.get(job_id)
        return followed.log if followed is not None else self._logs_read.of(job_id)

    async def _create(self, job_id: str, objects: JobObjects) -> None:
        if await self._api.get("Job", job_id + STOP_SUFFIX) is not None:
            return
        if await self._api.get("Job", job_id) is None:
            if objects.service is not None:
                await self._api.create(objects.service)
            await self._api.create(objects.job)
        if await self._api.get("Job", job_id + STOP_SUFFIX) is not None:
            await self._api.delete("Job", job_id, wait_for_pods=True)

    def _follow(self, job_id: str) -> None:
        if job_id not in self._followed:
            log = self._logs(job_id)
            archive = PodArchive(self._api, log, self._pulse, lambda: self._pods_of(job_id))
            archiving = asyncio.create_task(self._archive(job_id, log, archive), name=f"log of {job_id}")
            self._followed[job_id] = _Followed(log=log, archive=archive, archiving=archiving)

    async def _archive(self, job_id: str, log: ClusterLog, archive: PodArchive) -> None:
        try:
            self._followed[job_id].kept_before = await patiently(log.num_bytes)
        except (RefusedError, DataLossError) as error:
            logger.warning("kept log not counted", extra={"job": job_id, "reason": str(error)})
        await archive.run()

    def _pods_of(self, job_id: str) -> list[Manifest]:
        pods = [pod for pod in self._pods.objects.values() if job_of(pod) == job_id]
        return sorted(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def _pod_gone(self, pod: Manifest) -> None:
        followed, found = self._followed.get(job_of(pod)), exit_of(pod)
        if followed is not None and found is not None:
            followed.exits[pod["metadata"]["uid"]] = found

    async def _end(self, job_id: str, followed: _Followed) -> Outcome:
        await self._jobs.synced.wait()
        await self._pods.synced.wait()
        job = await self._ended(job_id, followed)
        # The pods' watch may be behind the Jobs': their ends and logs are asked for.
        selector = f"{SELECTOR},{JOB_LABEL}={job_id}"
        pods = (await patiently(lambda: self._api.list("Pod", selector))).get("items") or []
        if not await followed.archive.finished(pods, followed.archiving, LOG_WAIT_S):
            logger.warning("log not archived to its end", extra={"job": job_id})
        exits = followed.exits | {pod["metadata"]["uid"]: e for pod in pods if (e := exit_of(pod)) is not None}
        tail = await patiently(self._logs(job_id).tail)
        is_stopped = await self._found(job_id + STOP_SUFFIX) is not None
        try:
            await patiently(lambda: self._clear(job_id))
        except RefusedError as error:
            logger.warning("Service not deleted", extra={"job": job_id, "reason": str(error)})
        if job is not None:
            return finished_outcome(job, list(exits.values()), followed.waited, tail)
        if is_stopped:
            return stopped_outcome(list(exits.values()), self._cluster.workers, followed.waited, tail)
        return Outcome(result=None, exit=DELETED, log_tail=tail)

    async def _ended(self, job_id: str, followed: _Followed) -> Manifest | None:
        """The Job once it is finished, or None once it has gone with all its pods."""
        while True:
            beat = self._pulse.next
            waited = pods_wait_for(self._pods_of(job_id))
            if waited and waited != followed.waited:
                logger.warning("pod waits", extra={"job": job_id, "reason": waited})
                followed.waited = waited
            job = self._jobs.objects.get(job_id)
            if job is not None and is_finished(job):
                return job
            # Absent here may mean: not seen yet.
            if job is None and not self._pods_of(job_id) and await self._found(job_id) is None:
                return None
            await beat.wait()

    async def _gone(self, job_id: str) -> None:
        while await self._found(job_id) is not None:
            beat = self._pulse.next
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await beat.wait()

    async def _clear(self, job_id: str) -> None:
        if self._cluster.workers > 1:
            await self._api.delete("Service", job_id)

    async def _found(self, name: str) -> Manifest | None:
        return await patiently(lambda: self._api.get("Job", name))
