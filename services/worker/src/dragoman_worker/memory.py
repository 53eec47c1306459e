# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Fakes of the ports, in memory: a registry that a test fills, and damages."""

import asyncio
import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import replace

from dragoman_common.errors import NotFoundError, UnavailableError, UnimplementedError
from dragoman_worker.ports import AliasKey, AliasUpdate, FileUrlError, SeenEvent, VersionEnvelopes


class MemoryRegistry:
    """See ports.Registry. Holds what it is told to hold, signed or not.

    Attributes:
        is_away: Every call fails, and watches break.
        num_downloads: By path; num_pulls: the same.
        num_failing_downloads: So many of the next downloads fail as if it were away.
        alias_history: What alias_envelope finds, by alias and sequence.
        tombstones: By version.
        accepted: What events accept the loss of, by alias and sequence.
        keys: Its chain of key lists, if it has one.
        seen: The sequences that each watch said that it had seen, newest last.
        has_urls: Files can be pulled.
        pull_breaks_at: Pulls fail when they come to this byte of a file.
    """

    def __init__(self) -> None:
        self._updates: dict[AliasKey, AliasUpdate] = {}
        self._watchers: set[asyncio.Queue[AliasUpdate | None]] = set()
        self.alias_history: defaultdict[AliasKey, dict[int, bytes]] = defaultdict(dict)
        self._sequences: dict[AliasKey, int] = {}
        self.accepted: dict[tuple[AliasKey, int], SeenEvent] = {}
        self.keys: bytes | None = None
        self.seen: list[dict[AliasKey, int]] = []
        self.tombstones: dict[tuple[str, str, int], bytes] = {}
        self.has_urls = False
        self.pull_breaks_at: int | None = None
        self.num_pulls: defaultdict[str, int] = defaultdict(int)
        self.manifests: dict[tuple[str, str, int], bytes] = {}
        self.files: dict[tuple[str, str, int], dict[str, bytes]] = {}
        self.is_away = False
        self.num_failing_downloads = 0
        self.num_downloads: defaultdict[str, int] = defaultdict(int)

    def set_alias(self, update: AliasUpdate, sequence: int | None = None) -> None:
        """Store an event and tell the watchers; one without a sequence enters no history."""
        if sequence is not None:
            self.alias_history[update.tenant, update.model, update.alias][sequence] = update.envelope
            self._sequences[update.tenant, update.model, update.alias] = sequence
        self._updates[update.tenant, update.model, update.alias] = update
        for queue in self._watchers:
            queue.put_nowait(update)

    def lose_events_after(self, key: AliasKey, sequence: int) -> None:
        """Forget an alias's newest events, as a store would from which they were removed."""
        history = self.alias_history[key]
        for lost in [place for place in history if place > sequence]:
            del history[lost]
        if sequence:
            self._updates[key] = replace(self._updates[key], envelope=history[sequence])
            self._sequences[key] = sequence
        else:
            del self._updates[key], self._sequences[key]

    def break_watches(self) -> None:
        """End every stream as a restart would."""
        for queue in self._watchers:
            queue.put_nowait(None)

    async def watch_aliases(self, seen: Mapping[AliasKey, SeenEvent]) -> AsyncGenerator[AliasUpdate, None]:
        """See ports.Registry."""
        self._check()
        self.seen.append({key: event.sequence for key, event in seen.items()})
        queue: asyncio.Queue[AliasUpdate | None] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            for (tenant, model, alias), event in seen.items():
                held = self._sequences.get((tenant, model, alias), 0)
                if held < event.sequence or self._is_other((tenant, model, alias), event):
                    yield AliasUpdate(tenant=tenant, model=model, alias=alias, held_sequence=held)
            for key, update in list(self._updates.items()):
                if key not in seen or key not in self._sequences:
                    yield update
                    continue
                for sequence, envelope in sorted(self.alias_history[key].items()):
                    if sequence > seen[key].sequence:
                        yield replace(update, envelope=envelope)
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

    async def events_since_loss(self, tenant: str, model: str, alias: str, lost: SeenEvent) -> AsyncIterator[bytes]:
        """See ports.Registry."""
        self._check()
        key = (tenant, model, alias)
        chain = self.alias_history.get(key)
        if not chain:
            raise NotFoundError(f"there is no {model}@{alias}")
        first = min((place for (of, place), loss in self.accepted.items() if (of, loss) == (key, lost)), default=None)
        for sequence, envelope in sorted(chain.items()):
            if first is not None and sequence >= first:
                yield envelope

    async def key_list(self) -> bytes:
        """See ports.Registry."""
        self._check()
        if self.keys is None:
            raise UnimplementedError("no key list")
        return self.keys

    async def version(self, tenant: str, model: str, number: int) -> VersionEnvelopes:
        """See ports.Registry."""
        self._check()
        try:
            manifest = self.manifests[tenant, model, number]
        except KeyError:
            raise NotFoundError(f"{model} has no version {number}") from None
        return VersionEnvelopes(manifest=manifest, tombstone=self.tombstones.get((tenant, model, number)))

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

    async def pull(
        self,
        tenant: str,
        model: str,
        number: int,
        path: str,
        *,
        first_byte: int,
        size_bytes: int,
        append: Callable[[memoryview], None],
    ) -> bool:
        """See ports.Registry."""
        self._check()
        if not self.has_urls:
            return False
        self.num_pulls[path] += 1
        content = self.files[tenant, model, number][path]
        if len(content) != size_bytes:
            raise FileUrlError("the store has another size")
        ends_at = size_bytes if self.pull_breaks_at is None else max(first_byte, self.pull_breaks_at)
        step = 1 << 16
        for start in range(first_byte, ends_at, step):
            await asyncio.to_thread(append, memoryview(content)[start : min(start + step, ends_at)])
        if ends_at < size_bytes:
            raise FileUrlError("the store's answer ended early")
        return True

    def _is_other(self, key: AliasKey, event: SeenEvent) -> bool:
        """Whether the newest event is another one in the place of the seen one."""
        if self._sequences.get(key) != event.sequence:
            return False
        payload = base64.b64decode(json.loads(self.alias_history[key][event.sequence])["payload"])
        return hashlib.sha256(payload).hexdigest() != event.sha256

    def _check(self) -> None:
        if self.is_away:
            raise UnavailableError("the registry is away")
