# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a version that an alias names to an engine that answers, and how many of them there may be.

Owns one attempt. Not which versions, nor when it is tried again (placement.py).

    ref -> place -> turn -> manifest: signature, place, digest -> files -> config -> engine started -> held.engine
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from dragoman_common.errors import DataLossError, FailedPreconditionError
from dragoman_models.package import MODEL_FILE, ModelConfig, parse_model_config
from dragoman_models.verify import VerifyingKeys, verify_manifest
from dragoman_worker.engine import Engine
from dragoman_worker.held_version import HeldVersion
from dragoman_worker.loader import Loader
from dragoman_worker.package_reader import read_package
from dragoman_worker.ports import ModelFiles, Registry, RunnerEndedError

MakeEngine: TypeAlias = Callable[[str, Callable[[], Awaitable[ModelFiles]], Callable[[], None]], Engine]


class VersionLimitError(FailedPreconditionError):
    """The worker holds as many versions as it may. It says nothing about the version that found no place."""


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

    async def _start(self, held: HeldVersion, on_change: Callable[[], None]) -> None:
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
        engine = self._make_engine(ref.name, partial(self._loader.prepare, manifest), on_change)
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
