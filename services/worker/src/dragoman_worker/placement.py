# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which versions this worker runs: what the registry's aliases point to, once it is proven.

Owns the desired set, the order new before old, and retries. Not how a version gets to the disk (loader.py) or runs
(engine.py).

    watch -> alias event: signature, place, chain -> wanted versions -> manifest: signature, place, digest -> files ->
    load and warm beside the old version -> READY -> the old one lingers, drains, and its process ends

A version that fails to load changes nothing for the one that serves: an alias lets go of its old versions only when all
its new ones are READY. The failure is reported with its reason, and tried again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeAlias

from dragoman_common.clock import Clock
from dragoman_common.errors import DataLossError, DragomanError
from dragoman_models.package import MODEL_FILE, ModelConfig, parse_model_config
from dragoman_models.record import AliasRecord
from dragoman_models.verify import VerifyingKeys, payload_sha256, verify_alias_event, verify_manifest
from dragoman_worker.backoff import Backoff
from dragoman_worker.engine import Engine
from dragoman_worker.held_version import HeldVersion, State, VersionRef, failure_text
from dragoman_worker.loader import Loader
from dragoman_worker.package_reader import read_package
from dragoman_worker.ports import AliasUpdate, ModelFailedError, ModelFiles, Registry, RunnerEndedError

logger = logging.getLogger(__name__)

AliasKey: TypeAlias = tuple[str, str, str]
VersionKey: TypeAlias = tuple[str, str, int]
MakeEngine: TypeAlias = Callable[[str, Callable[[], Awaitable[ModelFiles]], Callable[[], None]], Engine]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacementLimits:
    """How placement waits.

    Attributes:
        linger_ms: How long a version that is DRAINING still takes calls: gateways hear of it a moment later.
        first_retry_ms: Pause before the second retry of a load; the first is at once.
        max_retry_ms: Longest pause between two.
    """

    linger_ms: float
    first_retry_ms: float
    max_retry_ms: float


class Placement:
    """Follows the registry. follow runs in the background; the rest answers from memory."""

    def __init__(
        self,
        *,
        registry: Registry,
        keys: VerifyingKeys,
        loader: Loader,
        make_engine: MakeEngine,
        clock: Clock,
        limits: PlacementLimits,
    ) -> None:
        """Prepare; nothing runs before follow.

        Args:
            registry: What is followed.
            keys: Whose signatures count.
            loader: Brings files.
            make_engine: (name, files, on_change) -> Engine, not started.
            clock: For the times that are reported.
            limits: See PlacementLimits.
        """
        self._registry = registry
        self._keys = keys
        self._loader = loader
        self._make_engine = make_engine
        self._clock = clock
        self._limits = limits
        self._aliases: dict[AliasKey, AliasRecord] = {}
        self._wanted: dict[AliasKey, frozenset[VersionRef]] = {}
        self._serving: dict[AliasKey, frozenset[VersionRef]] = {}
        self._refused: dict[AliasKey, HeldVersion] = {}
        self._held: dict[VersionKey, HeldVersion] = {}
        self._changed = asyncio.Event()
        self._has_snapshot = False
        self._is_closed = False

    def changed(self) -> asyncio.Event:
        """Return an event that is set at the next change. Take it before reading the state that it is about."""
        return self._changed

    def find(self, tenant: str, model: str, number: int) -> HeldVersion | None:
        """Return a version of this tenant, if it is held."""
        return self._held.get((tenant, model, number))

    def held(self, tenant: str | None = None) -> Iterator[HeldVersion]:
        """Every version that is held or was refused, of one tenant or of all."""
        refused = (
            one for one in self._refused.values() if (one.ref.tenant, one.ref.model, one.ref.number) not in self._held
        )
        for one in (*self._held.values(), *refused):
            if tenant is None or one.ref.tenant == tenant:
                yield one

    @property
    def is_settled(self) -> bool:
        """The aliases are known and each of their versions is READY or has FAILED once."""
        return self._has_snapshot and all(one.state is not State.LOADING for one in self._held.values())

    async def wait_settled(self) -> None:
        """Wait for is_settled."""
        while not self.is_settled:
            await self.changed().wait()

    async def follow(self) -> None:
        """Follow the registry until cancelled, through every break of the stream."""
        backoff = Backoff(first_s=self._limits.first_retry_ms / 1000, max_s=self._limits.max_retry_ms / 1000)
        while True:
            await asyncio.sleep(backoff.next_s())
            try:
                async for update in self._registry.watch_aliases():
                    backoff.reset()
                    self._take(update)
            except DragomanError as error:
                logger.warning("the watch on aliases broke, watching again", extra={"error": error.message})

    async def close(self) -> None:
        """End every process and start no other. Calls should have drained before."""
        self._is_closed = True
        tasks = [one.task for one in self._held.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(one.engine.close() for one in self._held.values() if one.engine is not None))
        self._held.clear()

    def _take(self, update: AliasUpdate) -> None:
        if update.envelope:
            key = (update.tenant, update.model, update.alias)
            try:
                record = self._verified(key, update.envelope)
            except DataLossError as error:
                logger.error("alias event refused", extra={"error": error.message})  # noqa: TRY400 - the text says all
                ref = VersionRef(tenant=update.tenant, model=update.model, number=update.stable_version, root_sha256="")
                self._refused[key] = HeldVersion(ref, self._clock.now())
                self._refused[key].move(State.FAILED, self._clock.now(), failure_text(error))
            else:
                self._refused.pop(key, None)
                self._aliases[key] = record
                self._wanted[key] = frozenset(_refs(record))
        self._has_snapshot = self._has_snapshot or update.is_snapshot_complete
        self._reconcile()

    def _verified(self, key: AliasKey, envelope: bytes) -> AliasRecord:
        """The event, if a trusted key signed it for this alias and it does not contradict what was seen."""
        tenant, model, alias = key
        record = verify_alias_event(envelope, self._keys, tenant=tenant, model=model, alias=alias)
        seen = self._aliases.get(key)
        if seen is None or seen == record:
            return record
        what = f"{tenant}/{model}/aliases/{alias}"
        if record.sequence <= seen.sequence:
            raise DataLossError(f"{what}: event {record.sequence} came after event {seen.sequence} was seen")
        # After a broken watch events may be missing between the two; the signature and the rising number must do then.
        if record.sequence == seen.sequence + 1 and record.previous_sha256 != payload_sha256(seen):
            raise DataLossError(f"{what}: event {record.sequence} does not continue the event seen before it")
        return record

    def _reconcile(self) -> None:
        """Start what is wanted, retire what nothing needs; called after every change."""
        if self._is_closed:
            return
        for key, refs in self._wanted.items():
            if all(self._is_ready(ref) for ref in refs):
                self._serving[key] = refs
        wanted = frozenset[VersionRef]().union(*self._wanted.values())
        needed = wanted.union(*self._serving.values())
        for held in list(self._held.values()):
            if held.ref not in needed:
                self._retire(held)
        for ref in sorted(wanted):
            self._start(ref)
        self._changed.set()
        self._changed = asyncio.Event()

    def _is_ready(self, ref: VersionRef) -> bool:
        held = self.find(ref.tenant, ref.model, ref.number)
        return held is not None and held.ref == ref and held.is_loaded

    def _start(self, ref: VersionRef) -> None:
        key = (ref.tenant, ref.model, ref.number)
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = HeldVersion(ref, self._clock.now())
            held.task = asyncio.create_task(self._load(held), name=f"load {ref.name}")
        elif held.state is State.DRAINING and held.task is None and held.ref == ref:
            # Wanted again while it lingers.
            held.move(State.READY, self._clock.now())

    def _retire(self, held: HeldVersion) -> None:
        """Let a version go: one that served keeps taking calls for a while, one that did not ends at once."""
        if held.is_loaded:
            held.move(State.DRAINING, self._clock.now())
            loop = asyncio.get_running_loop()
            loop.call_later(self._limits.linger_ms / 1000, self._stop_lingering, held, held.state_time)
        elif held.state is not State.DRAINING:
            held.move(State.DRAINING, self._clock.now())
            held.task = asyncio.create_task(self._unload(held, held.task), name=f"unload {held.ref.name}")

    def _stop_lingering(self, held: HeldVersion, since: datetime) -> None:
        # Unless it was wanted again in between; then a newer timer may be running.
        if held.state is State.DRAINING and held.state_time == since and held.task is None:
            held.task = asyncio.create_task(self._unload(held, None), name=f"unload {held.ref.name}")

    async def _unload(self, held: HeldVersion, loading: asyncio.Task[None] | None) -> None:
        if loading is not None:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        if held.engine is not None:
            await held.engine.drain()
            await held.engine.close()
        if held.manifest is not None:
            await self._loader.release(held.manifest)
        logger.info("version unloaded", extra={"version": held.ref.name})
        del self._held[_key(held)]
        # It may have been wanted again meanwhile.
        self._reconcile()

    async def _load(self, held: HeldVersion) -> None:
        backoff = Backoff(first_s=self._limits.first_retry_ms / 1000, max_s=self._limits.max_retry_ms / 1000)
        while True:
            await asyncio.sleep(backoff.next_s())
            try:
                await self._load_once(held)
            except (DragomanError, ModelFailedError, RunnerEndedError) as error:
                logger.error("version not loaded", extra={"version": held.ref.name, "error": failure_text(error)})  # noqa: TRY400 - expected
                held.move(State.FAILED, self._clock.now(), failure_text(error))
                self._reconcile()
            else:
                break
        logger.info("version ready", extra={"version": held.ref.name})
        held.task = None
        held.move(State.READY, self._clock.now())
        self._reconcile()

    async def _load_once(self, held: HeldVersion) -> None:
        ref = held.ref
        envelope = await self._registry.manifest_envelope(ref.tenant, ref.model, ref.number)
        manifest = verify_manifest(envelope, self._keys, tenant=ref.tenant, model=ref.model, number=ref.number)
        if manifest.root_sha256 != ref.root_sha256:
            raise DataLossError(f"{ref.name}: the alias names other content than the version's manifest")
        held.manifest = manifest
        config = await asyncio.to_thread(_read_config, await self._loader.prepare(manifest))
        if config.labels != manifest.labels:
            raise DataLossError(f"{ref.name}: {MODEL_FILE} and the manifest name different labels")
        size = config.architecture.hyperparameters.get("vocabulary_size")
        held.vocabulary_size = size if isinstance(size, int) else None
        engine = self._make_engine(ref.name, partial(self._loader.prepare, manifest), self._reconcile)
        try:
            await engine.start()
        except BaseException:
            with suppress(RunnerEndedError):
                await engine.close()
            raise
        held.engine = engine


def _read_config(files: ModelFiles) -> ModelConfig:
    content = read_package(files.folder, files.sha256_by_path, keep=frozenset({MODEL_FILE}))
    return parse_model_config(content[MODEL_FILE])


def _key(held: HeldVersion) -> VersionKey:
    return (held.ref.tenant, held.ref.model, held.ref.number)


def _refs(record: AliasRecord) -> Iterator[VersionRef]:
    yield VersionRef(
        tenant=record.tenant,
        model=record.model,
        number=record.stable_version,
        root_sha256=record.stable_root_sha256,
    )
    if record.candidate is not None:
        yield VersionRef(
            tenant=record.tenant,
            model=record.model,
            number=record.candidate.version,
            root_sha256=record.candidate.root_sha256,
        )
