# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a version that an alias names to an engine that answers, and how many of them there may be.

Owns one attempt. Not which versions, nor when it is tried again (placement.py).

    ref -> place -> turn -> manifest: signature, place, digest -> withdrawn? -> files -> config -> engine started
        -> held.engine
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from dragoman_common.errors import DataLossError, FailedPreconditionError
from dragoman_models.package import MODEL_FILE, ModelConfig, parse_model_config
from dragoman_models.record import VersionManifest
from dragoman_models.tombstone import verify_tombstone
from dragoman_models.verify import VerifyingKeys, verify_manifest
from dragoman_worker.engine import Engine
from dragoman_worker.held_version import HeldVersion, VersionRef
from dragoman_worker.loader import Loader
from dragoman_worker.package_reader import read_checked
from dragoman_worker.ports import ModelFiles, Registry, RunnerEndedError, VersionEnvelopes

MakeEngine: TypeAlias = Callable[[str, Callable[[], Awaitable[ModelFiles]], Callable[[], None]], Engine]


class VersionLimitError(FailedPreconditionError):
    """The worker holds as many versions as it may. It says nothing about the version that found no place."""


class VersionWithdrawnError(FailedPreconditionError):
    """The registry has signed that the version is out of use for good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StarterLimits:
    """What all versions together may take.

    Attributes:
        max_loaded_versions: Held at once: loading, serving and draining ones.
        max_concurrent_loads: The others wait for their turn.
    """

    max_loaded_versions: int
    max_concurrent_loads: int


class VersionStarter:
    """Starts versions, a few at once, and no more than there is place for."""

    def __init__(
        self, *, registry: Registry, keys: VerifyingKeys, loader: Loader, make_engine: MakeEngine, limits: StarterLimits
    ) -> None:
        """Say how.

        Args:
            registry: Has the manifests.
            keys: Whose signatures count.
            loader: Brings files.
            make_engine: (name, files, on_change) -> Engine, not started.
            limits: See StarterLimits.
        """
        self._registry = registry
        self._keys = keys
        self._loader = loader
        self._make_engine = make_engine
        self._limits = limits
        self._turns = asyncio.Semaphore(limits.max_concurrent_loads)
        self._places: set[HeldVersion] = set()

    async def start(self, held: HeldVersion, on_change: Callable[[], None]) -> None:
        """Give a version its manifest and a running engine; it keeps its place until release.

        Raises:
            VersionLimitError: no place.
            VersionWithdrawnError: it may not be used any more.
            DataLossError: something is not what was signed.
            DragomanError: it cannot be fetched, or is no model that this worker can run.
            ModelFailedError, RunnerEndedError: see ports.ModelLauncher.
        """
        if len(self._places) >= self._limits.max_loaded_versions:
            raise VersionLimitError(
                f"the worker holds {len(self._places)} versions, as many as it may: point aliases away from versions "
                "that are not needed, raise MAX_LOADED_VERSIONS, or add a worker"
            )
        self._places.add(held)
        try:
            async with self._turns:
                await self._start(held, on_change)
        except BaseException:
            self._places.discard(held)
            raise

    async def release(self, held: HeldVersion) -> None:
        """Give back the place and the files. Its engine must have been closed."""
        self._places.discard(held)
        if held.manifest is not None:
            await self._loader.release(held.manifest)

    async def check(self, held: HeldVersion) -> None:
        """Verify a version that is loaded by today's keys; the registry may have signed it again.

        Raises:
            DataLossError: no key that counts has signed it.
            DragomanError: it is in doubt, and the registry could not be asked.
        """
        if held.envelopes is None:
            return
        ref = held.ref
        try:
            self._manifest(ref, held.envelopes.manifest)
        except DataLossError:
            envelopes = await self._registry.version(ref.tenant, ref.model, ref.number)
            self._manifest(ref, envelopes.manifest)
            held.envelopes = envelopes

    async def _start(self, held: HeldVersion, on_change: Callable[[], None]) -> None:
        ref = held.ref
        sequence = self._keys.sequence
        held.envelopes = await self._registry.version(ref.tenant, ref.model, ref.number)
        manifest = self._believed(ref, held.envelopes)
        held.manifest = manifest
        await self._load(held, manifest, on_change)
        if self._keys.sequence != sequence and held.engine is not None:
            # A key may have been revoked since it was verified.
            try:
                await self.check(held)
            except BaseException:
                engine, held.engine = held.engine, None
                await engine.close()
                raise

    async def _load(self, held: HeldVersion, manifest: VersionManifest, on_change: Callable[[], None]) -> None:
        files = await self._loader.prepare(manifest)
        try:
            await self._run(held, manifest, files, on_change)
        except DataLossError:
            # Read from the registry just now, or found in the cache: what was damaged there is fetched again, once.
            again = await self._loader.prepare(manifest, is_suspect=True)
            await self._run(held, manifest, again, on_change)

    def _believed(self, ref: VersionRef, envelopes: VersionEnvelopes) -> VersionManifest:
        """The manifest of a version that may be used.

        A tombstone that does not verify refuses the version, too: who can spoil one can as well spoil the manifest, and
        must not bring a withdrawn version back that way. What is loaded already is not asked about again.
        """
        manifest = self._manifest(ref, envelopes.manifest)
        if envelopes.tombstone is None:
            return manifest
        tombstone = verify_tombstone(
            envelopes.tombstone, self._keys, tenant=ref.tenant, model=ref.model, version=ref.number
        )
        if tombstone.root_sha256 != manifest.root_sha256:
            raise DataLossError(f"{ref.name}: its tombstone speaks of other content")
        raise VersionWithdrawnError(
            f"{ref.name} was withdrawn by {tombstone.withdrawn_by[:100]}: {tombstone.reason[:200]}"
        )

    def _manifest(self, ref: VersionRef, envelope: bytes) -> VersionManifest:
        manifest = verify_manifest(envelope, self._keys, tenant=ref.tenant, model=ref.model, number=ref.number)
        if manifest.root_sha256 != ref.root_sha256:
            raise DataLossError(f"{ref.name}: the alias names other content than the version's manifest")
        return manifest

    async def _run(
        self, held: HeldVersion, manifest: VersionManifest, files: ModelFiles, on_change: Callable[[], None]
    ) -> None:
        config = await asyncio.to_thread(_read_config, files)
        if config.labels != manifest.labels:
            raise DataLossError(f"{held.ref.name}: {MODEL_FILE} and the manifest name different labels")
        size = config.architecture.hyperparameters.get("vocabulary_size")
        held.vocabulary_size = size if isinstance(size, int) else None
        prepared = [files]

        async def next_files() -> ModelFiles:
            """For the first start what is here; for one after a process has ended nothing is taken for granted."""
            return prepared.pop() if prepared else await self._loader.prepare(manifest, is_suspect=True)

        engine = self._make_engine(held.ref.name, next_files, on_change)
        try:
            await engine.start()
        except BaseException:
            with suppress(RunnerEndedError):
                await engine.close()
            raise
        held.engine = engine


def _read_config(files: ModelFiles) -> ModelConfig:
    return parse_model_config(read_checked(files, MODEL_FILE))
