# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The archived logs of jobs, in the cluster: parts of at most 64 KiB in the order in which they were read.

    <job>-log-<n>   ConfigMap: the bytes, deflated; of which pod, from which byte of its log, from which of the whole
    append(pod, at, data): what is kept of it already is passed over -> into the last part, at its version, or a new one

A part that has a next one never changes. Who writes beside another is refused by the version or the name, reads what is
there, and goes on behind it: each byte is kept once. A log outlives pod and Job.

    finish(pod, at, data): a log that was cut -> the end of its last pod's, as one more part behind the mark
"""

import asyncio
import base64
import binascii
import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_launcher.cluster_api import ClusterApi
from dragoman_launcher.job_log import TAIL_BYTES, last_lines
from dragoman_launcher.job_objects import DOMAIN, JOB_LABEL, MANAGED, ROLE_LABEL, SELECTOR, Manifest

PART_BYTES: Final = 64 * 1024
"""Before deflation. Whoever adds to a part writes all of it anew, and etcd keeps what was there until it is compacted:
5 minutes of a log that is written every 5 s cost it 2 MB at worst. And so many ConfigMaps (the quota
`count/configmaps`) take at most so many times this."""
MAX_BYTES: Final = 1024 * 1024
"""Of one job's log, beside its end. Text takes a tenth of it: 10,000 jobs (MAX_JOBS) that all write as much take 1 of
the 2 GiB that etcd has by default, and when those are full the whole cluster takes no change."""
CUT: Final = b"\n[the log goes on; only its end is kept, once the job has ended]\n"
FRESH_S: Final = 1.0
"""How old what is read of a growing log may be."""
MAX_TRIES: Final = 8

_POD: Final = f"{DOMAIN}/pod-uid"
_POD_START: Final = f"{DOMAIN}/pod-start"
_START: Final = f"{DOMAIN}/log-start"
_KEY: Final = "log.zlib"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    number: int
    pod: str
    pod_start: int
    start: int
    data: bytes
    manifest: Manifest

    @property
    def end(self) -> int:
        return self.start + len(self.data)

    @property
    def pod_end(self) -> int:
        return self.pod_start + len(self.data)


class ClusterLog:
    """One job's log.

    Args:
        api: the cluster.
        job_id: whose.
        monotonic_s: a clock.
    """

    def __init__(self, api: ClusterApi, job_id: str, monotonic_s: Callable[[], float]) -> None:
        self._api = api
        self._job_id = job_id
        self._monotonic_s = monotonic_s
        self._ends: list[int] = []
        """Of the parts that have a next one, and so never change."""
        self._whole: _Part | None = None
        self._newest: tuple[float, _Part | None] | None = None
        self._end = b""
        self._looking = asyncio.Lock()

    async def kept(self, pod: str) -> int:
        """How many bytes of a pod's log are kept."""
        selector = f"{SELECTOR},{ROLE_LABEL}=log,{JOB_LABEL}={self._job_id}"
        found = (await self._api.list("ConfigMap", selector)).get("items") or []
        parts = await asyncio.to_thread(lambda: [_part(manifest) for manifest in found])
        return max((part.pod_end for part in parts if part.pod == pod), default=0)

    async def append(self, pod: str, at: int, data: bytes) -> None:
        """Keep a piece of a pod's log.

        Args:
            pod: its uid.
            at: where in its log the piece begins.
            data: the piece.

        Raises:
            UnavailableError: some of it may be kept.
            RefusedError: the cluster takes no more.
        """
        for number_of_try in range(MAX_TRIES + len(data) // PART_BYTES):
            # Most of the time nobody else writes, and what is there is known.
            last = await self._last(fresh_s=0 if number_of_try else float("inf"))
            end = 0 if last is None else last.end
            if end >= MAX_BYTES:
                return
            is_of_pod = last is not None and last.pod == pod
            kept = last.pod_end if last is not None and is_of_pod else await self._kept_before(last, pod)
            data, at = data[max(0, kept - at) :], max(at, kept)
            if not data:
                return
            if last is not None and is_of_pod and at == kept and len(last.data) < PART_BYTES:
                whole = last.data + _cut(data[: PART_BYTES - len(last.data)], end)
                manifest = {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    **last.manifest,
                    "binaryData": await _packed(whole),
                }
                replaced = await self._api.replace(manifest)
                known = None if replaced is None else replace(last, data=whole, manifest=replaced)
                self._newest = None if known is None else (self._monotonic_s(), known)
            else:
                number = 0 if last is None else last.number + 1
                await self._create(number, pod, at, end, _cut(data[:PART_BYTES], end))
        raise UnavailableError("The log is written by others all the time.")

    async def finish(self, pod: str, at: int, data: bytes) -> None:
        """Say how the log of the job's last pod ends. What of it was cut off is kept as well, once.

        Args:
            pod: its uid.
            at: where in its log the piece begins.
            data: the piece, up to the end; at most TAIL_BYTES.

        Raises:
            UnavailableError: it may be kept.
            RefusedError: the cluster takes no more; `tail` knows it all the same.
        """
        self._end = data
        last = await self._last()
        # Behind the cut there is nothing but another launcher's end of the same log.
        if last is None or last.end < MAX_BYTES or last.start >= MAX_BYTES:
            return
        kept = last.pod_end - len(CUT) if last.pod == pod else 0
        if fresh := data[max(0, kept - at) :]:
            await self._create(last.number + 1, pod, max(at, kept), last.end, fresh)

    async def _kept_before(self, last: _Part | None, pod: str) -> int:
        return 0 if last is None else await self.kept(pod)

    async def num_bytes(self) -> int:
        last = await self._last(fresh_s=FRESH_S)
        return 0 if last is None else last.end

    async def read(self, offset_bytes: int, max_bytes: int) -> bytes:
        """A piece of the whole, as JobRunner.read_log."""
        last = await self._last(fresh_s=FRESH_S)
        if last is None or offset_bytes >= last.end:
            # Whoever asks at the end of an ended job's log gets the rest of it.
            last = await self._last()
        found = b""
        while last is not None and offset_bytes + len(found) < last.end and len(found) < max_bytes:
            at = offset_bytes + len(found)
            number = next((n for n, end in enumerate(self._ends) if at < end), last.number)
            part = last if number == last.number else await self._whole_part(number)
            found += part.data[at - part.start : at - part.start + max_bytes - len(found)]
        return found

    async def tail(self) -> str:
        """The last lines of the last pod that wrote any."""
        if self._end:
            return last_lines(self._end)
        last = await self._last()
        if last is None:
            return ""
        before = await self._whole_part(last.number - 1) if last.number else None
        data = before.data if before is not None and before.pod == last.pod else b""
        return last_lines(data + last.data)

    async def _last(self, fresh_s: float = 0) -> _Part | None:
        async with self._looking:
            now_s = self._monotonic_s()
            if self._newest is not None and now_s - self._newest[0] < fresh_s:
                return self._newest[1]
            last: _Part | None = None
            while (part := await self._get(len(self._ends) + (last is not None))) is not None:
                if last is not None:
                    self._ends.append(last.end)
                last = part
            self._newest = (now_s, last)
            return last

    async def _whole_part(self, number: int) -> _Part:
        if self._whole is None or self._whole.number != number:
            self._whole = await self._get(number)
        if self._whole is None:
            raise DataLossError(f"Part {number} of the log of {self._job_id} is missing.")
        return self._whole

    async def _get(self, number: int) -> _Part | None:
        found = await self._api.get("ConfigMap", self._name(number))
        return None if found is None else await asyncio.to_thread(_part, found)

    def _name(self, number: int) -> str:
        return f"{self._job_id}-log-{number:04d}"

    async def _create(self, number: int, pod: str, pod_start: int, start: int, data: bytes) -> None:
        """Make a part, unless somebody else has made one of this number."""
        annotations = {_POD: pod, _POD_START: str(pod_start), _START: str(start)}
        labels = MANAGED | {JOB_LABEL: self._job_id, ROLE_LABEL: "log"}
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self._name(number), "labels": labels, "annotations": annotations},
            "binaryData": await _packed(data),
        }
        await self._api.create(manifest)
        self._newest = None


def _cut(data: bytes, end: int) -> bytes:
    """What of it is still kept: a log that is too long says where it was cut."""
    room = MAX_BYTES - end
    return data if len(data) < room else data[: max(0, room - len(CUT))] + CUT


async def _packed(data: bytes) -> dict[str, str]:
    packed = await asyncio.to_thread(zlib.compress, data)
    return {_KEY: base64.b64encode(packed).decode()}


def _part(found: Manifest) -> _Part:
    metadata = found["metadata"]
    annotations = metadata.get("annotations") or {}
    unpack = zlib.decompressobj()
    try:
        packed = base64.b64decode((found.get("binaryData") or {})[_KEY], validate=True)
        return _Part(
            number=int(metadata["name"].rpartition("-")[2]),
            pod=annotations[_POD],
            pod_start=int(annotations[_POD_START]),
            start=int(annotations[_START]),
            data=unpack.decompress(packed, max(PART_BYTES, TAIL_BYTES) + len(CUT)),
            manifest=found,
        )
    except (KeyError, ValueError, binascii.Error, zlib.error) as error:
        raise DataLossError(f"{metadata['name']} is no part of a log.") from error
