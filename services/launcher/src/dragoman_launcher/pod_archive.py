# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Copies the log of a job's first worker into its archive while it runs: pod after pod, each to its end.

pods of index 0, oldest first -> log, followed -> what is not kept yet -> ClusterLog      broken off -> followed again
the job has ended -> the last bytes that were read -> ClusterLog.finish: an error's text is seldom where a log begins
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import Final

from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_launcher.cluster_api import ClusterApi, RefusedError
from dragoman_launcher.cluster_logs import ClusterLog
from dragoman_launcher.cluster_watch import Pulse
from dragoman_launcher.job_log import TAIL_BYTES
from dragoman_launcher.job_objects import CONTAINER, INDEX_LABEL, Manifest
from dragoman_launcher.job_status import exit_of, has_log

RETRY_DELAY_S: Final = 0.5
GATHER_S: Final = 5.0
"""How far behind the archived log of a running pod may be. Each write leaves a copy of a part in etcd for minutes."""
MAX_GATHERED_BYTES: Final = 256 * 1024
MAX_WAITING_PIECES: Final = 16

logger = logging.getLogger(__name__)


class PodArchive:
    """Follows one job.

    Args:
        api: the cluster.
        logs: where the log goes.
        pulse: beats when pods have changed.
        pods: the job's pods as they are seen now, oldest first.
    """

    def __init__(self, api: ClusterApi, logs: ClusterLog, pulse: Pulse, pods: Callable[[], Sequence[Manifest]]) -> None:
        self._api = api
        self._logs = logs
        self._pulse = pulse
        self._pods = pods
        self._done: set[str] = set()
        self._last_pods: Sequence[Manifest] | None = None
        self._end: tuple[str, int, bytes] | None = None
        """What was read last: of which pod, from which byte of its log."""
        self.num_bytes = 0
        """How much this launcher has copied, also of what was too much to keep."""

    async def run(self) -> None:
        """Copy until `finished` is called, and what there is then."""
        while True:
            beat = self._pulse.next
            pod = self._next()
            if pod is not None:
                await self._copy(pod)
            elif self._last_pods is not None:
                await self._finish()
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

    async def _finish(self) -> None:
        while self._end is not None:
            try:
                await self._logs.finish(*self._end)
            except UnavailableError:
                await asyncio.sleep(RETRY_DELAY_S)
                continue
            except (RefusedError, DataLossError) as error:
                logger.warning("end of a log not archived", extra={"pod_uid": self._end[0], "reason": str(error)})
            return

    async def _copy(self, pod: Manifest) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        try:
            await self._keep(name, uid)
            found = await self._api.get("Pod", name)
        except UnavailableError as error:
            logger.info("log broken off", extra={"pod": name, "reason": error.message})
            await asyncio.sleep(RETRY_DELAY_S)
            return
        except (RefusedError, DataLossError) as error:
            logger.warning("log not archived", extra={"pod": name, "reason": str(error)})
            self._done.add(uid)
            return
        # A log that ends under a running container was only broken off.
        if found is None or found["metadata"]["uid"] != uid or exit_of(found) is not None:
            self._done.add(uid)
        else:
            await asyncio.sleep(RETRY_DELAY_S)

    async def _keep(self, name: str, uid: str) -> None:
        known = await self._logs.kept(uid)
        at, end, is_taken = 0, b"", True
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING_PIECES)
        reading = asyncio.create_task(self._read(name, pieces))
        try:
            is_over = False
            while not is_over:
                data, is_over = await _gathered(pieces)
                fresh = data[max(0, known - at) :]
                at, end = at + len(data), (end + data)[-TAIL_BYTES:]
                if end:
                    self._end = uid, at - len(end), end
                if fresh and is_taken:
                    is_taken = await self._is_taken(name, uid, at - len(fresh), fresh)
                    self.num_bytes += len(fresh)
            await reading
        finally:
            reading.cancel()
            # Its connection is closed when this returns, also when nobody listens to it any more.
            await asyncio.gather(reading, return_exceptions=True)

    async def _is_taken(self, name: str, uid: str, at: int, data: bytes) -> bool:
        """False: no more of this log is kept. It is read all the same: how it ends says why a job failed."""
        try:
            await self._logs.append(uid, at, data)
        except (RefusedError, DataLossError) as error:
            logger.warning("log not archived", extra={"pod": name, "reason": str(error)})
            return False
        return True

    async def _read(self, name: str, pieces: "asyncio.Queue[bytes | None]") -> None:
        try:
            async with aclosing(self._api.log(name, CONTAINER)) as log:
                async for piece in log:
                    await pieces.put(piece)
        except (UnavailableError, RefusedError):
            await pieces.put(None)
            raise
        await pieces.put(None)


async def _gathered(pieces: "asyncio.Queue[bytes | None]") -> tuple[bytes, bool]:
    """What comes, with what follows in the next moment, and whether the log is over: each write costs the cluster."""
    data = bytearray()
    piece = await pieces.get()
    deadline_s = asyncio.get_running_loop().time() + GATHER_S
    while piece is not None:
        data += piece
        if len(data) >= MAX_GATHERED_BYTES:
            break
        try:
            async with asyncio.timeout_at(deadline_s):
                piece = await pieces.get()
        except TimeoutError:
            break
    return bytes(data), piece is None
