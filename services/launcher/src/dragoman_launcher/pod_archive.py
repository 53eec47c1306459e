# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Copies the log of a job's first worker into its archive while it runs: pod after pod, each to its end.

pods of index 0, oldest first -> log, followed -> what is not kept yet -> PodLogs      broken off -> followed again
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from dragoman_common.errors import UnavailableError
from dragoman_launcher.cluster_api import ClusterApi
from dragoman_launcher.cluster_watch import Pulse
from dragoman_launcher.job_log import log_bytes
from dragoman_launcher.job_objects import CONTAINER, INDEX_LABEL, Manifest
from dragoman_launcher.job_status import exit_of, has_log
from dragoman_launcher.pod_logs import PodLogs

RETRY_DELAY_S: Final = 0.5

logger = logging.getLogger(__name__)


class PodArchive:
    """Follows one job.

    Args:
        api: the cluster.
        logs: where the log goes.
        pulse: beats when pods have changed.
        pods: the job's pods as they are seen now, oldest first.
    """

    def __init__(self, api: ClusterApi, logs: PodLogs, pulse: Pulse, pods: Callable[[], Sequence[Manifest]]) -> None:
        self._api = api
        self._logs = logs
        self._pulse = pulse
        self._pods = pods
        self._done: set[str] = set()
        self._last_pods: Sequence[Manifest] | None = None

    async def run(self) -> None:
        """Copy until `finished` is called, and what there is then."""
        while True:
            beat = self._pulse.next
            pod = self._next()
            if pod is not None:
                await self._copy(pod)
            elif self._last_pods is not None:
                return
            else:
                await beat.wait()

    async def finished(self, pods: Sequence[Manifest], running: asyncio.Task[None], patience_s: float) -> bool:
        """Say that no other pods come than these; return when their log is kept, False when that took too long."""
        self._last_pods = pods
        self._pulse.beat()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await asyncio.wait([running])
        if running.done():
            return running.cancelled() or running.exception() is None
        running.cancel()
        return False

    def _next(self) -> Manifest | None:
        for pod in [*self._pods(), *(self._last_pods or ())]:
            index = (pod["metadata"].get("labels") or {}).get(INDEX_LABEL)
            if index == "0" and pod["metadata"]["uid"] not in self._done and has_log(pod):
                return pod
        return None

    async def _copy(self, pod: Manifest) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        file = await asyncio.to_thread(self._logs.file_of, uid)
        known = await asyncio.to_thread(log_bytes, file)
        try:
            async for piece in self._api.log(name, CONTAINER):
                fresh, known = piece[known:], max(0, known - len(piece))
                if fresh:
                    await asyncio.to_thread(self._logs.append, file, fresh)
            found = await self._api.get("Pod", name)
        except UnavailableError as error:
            logger.info("log broken off", extra={"pod": name, "reason": error.message})
            await asyncio.sleep(RETRY_DELAY_S)
            return
        except OSError as error:
            logger.warning("log not archived", extra={"pod": name, "reason": str(error)})
            self._done.add(uid)
            return
        # A log that ends under a running container was only broken off.
        if found is None or found["metadata"]["uid"] != uid or exit_of(found) is not None:
            self._done.add(uid)
        else:
            await asyncio.sleep(RETRY_DELAY_S)
