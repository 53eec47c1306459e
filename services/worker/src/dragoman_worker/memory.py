# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Fakes of the ports, in memory: a registry that a test fills, and damages."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

from dragoman_common.errors import NotFoundError, UnavailableError
from dragoman_worker.ports import AliasUpdate


class MemoryRegistry:
    """See ports.Registry. Holds what it is told to hold, signed or not.

    Attributes:
        is_away: Every call fails, and watches break.
        num_downloads: By path.
        num_failing_downloads: So many of the next downloads fail as if it were away.
        alias_history: What alias_envelope finds, by alias and sequence.
    """

    def __init__(self) -> None:
        self._updates: dict[tuple[str, str, str], AliasUpdate] = {}
        self._watchers: set[asyncio.Queue[AliasUpdate | None]] = set()
        self.alias_history: defaultdict[tuple[str, str, str], dict[int, bytes]] = defaultdict(dict)
        self.manifests: dict[tuple[str, str, int], bytes] = {}
        self.files: dict[tuple[str, str, int], dict[str, bytes]] = {}
        self.is_away = False
        self.num_failing_downloads = 0
        self.num_downloads: defaultdict[str, int] = defaultdict(int)

    def set_alias(self, update: AliasUpdate, sequence: int | None = None) -> None:
        """Store an event and tell the watchers; one without a sequence enters no history."""
        if sequence is not None:
            self.alias_history[update.tenant, update.model, update.alias][sequence] = update.envelope
        self._updates[update.tenant, update.model, update.alias] = update
        for queue in self._watchers:
            queue.put_nowait(update)

    def break_watches(self) -> None:
        """End every stream as a restart would."""
        for queue in self._watchers:
            queue.put_nowait(None)

    async def watch_aliases(self) -> AsyncIterator[AliasUpdate]:
        """See ports.Registry."""
        self._check()
        queue: asyncio.Queue[AliasUpdate | None] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            for update in list(self._updates.values()):
                yield update
            yield AliasUpdate(is_snapshot_complete=True)
            while (update_or_end := await queue.get()) is not None:
                yield update_or_end
            raise UnavailableError("the stream broke")
        finally:
            self._watchers.discard(queue)

    async def alias_envelope(self, tenant: str, model: str, alias: str, sequence: int) -> bytes:
        """See ports.Registry."""
        self._check()
        try:
            return self.alias_history[tenant, model, alias][sequence]
        except KeyError:
            raise NotFoundError(f"{model}@{alias} has no event {sequence}") from None

    async def manifest_envelope(self, tenant: str, model: str, number: int) -> bytes:
        """See ports.Registry."""
        self._check()
        try:
            return self.manifests[tenant, model, number]
        except KeyError:
            raise NotFoundError(f"{model} has no version {number}") from None

    async def download(
        self, tenant: str, model: str, number: int, path: str, offset_bytes: int
    ) -> AsyncIterator[bytes]:
        """See ports.Registry."""
        self._check()
        self.num_downloads[path] += 1
        if self.num_failing_downloads:
            self.num_failing_downloads -= 1
            raise UnavailableError("the registry is away")
        try:
            content = self.files[tenant, model, number][path]
        except KeyError:
            raise NotFoundError(f"{model} version {number} has no file {path}") from None
        step = 1 << 16
        for start in range(offset_bytes, len(content), step):
            yield content[start : start + step]

    def _check(self) -> None:
        if self.is_away:
            raise UnavailableError("the registry is away")
