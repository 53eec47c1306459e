# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Publishing: one version, once, whole.

    intent -> blobs -> by-digest claim -> sign -> manifest

The manifest is the commit: before it nothing is listed, after it all is in place, and every step before it may be
repeated. The claim under by-digest says which number a content means to take, so that two publishers of the same
content end with one version: whoever comes second finds the claim and finishes, or finds the version and returns it.
A claim whose number went to other content is lost; the next one is made beside it. Content that
the model holds keeps its number, whichever is asked for.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from weakref import WeakValueDictionary

from blake3 import blake3

from dragoman_common.clock import Clock
from dragoman_common.errors import AbortedError, AlreadyExistsError, DragomanError, InvalidArgumentError
from dragoman_models.architecture import check_weights
from dragoman_models.evaluation import parse_evaluation
from dragoman_models.package import EVALUATION_FILE, MODEL_FILE, WEIGHTS_FILE, ModelConfig, parse_model_config
from dragoman_models.signing import SigningKey
from dragoman_models.tensors import MAX_START_BYTES
from dragoman_registry import layout
from dragoman_registry.catalog import Catalog
from dragoman_registry.claim import new_claim, read_claim
from dragoman_registry.model_version import (
    ModelVersionNotFoundError,
    PublishRequest,
    StoredVersion,
    file_named,
    manifest_of,
    sign_version,
    version_object,
)
from dragoman_registry.ports import (
    BlobMismatchError,
    ModelNews,
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectStore,
)
from dragoman_registry.publish_intent import Intents
from dragoman_registry.record_reader import RecordReader
from dragoman_registry.settled import create_settled
from dragoman_registry.upload import Chunk, Upload

logger = logging.getLogger(__name__)

MAX_CLAIMS = 1000


class VersionTakenError(AlreadyExistsError):
    """The requested number holds other content."""


class Publisher:
    """Writes versions. Several publishers, in this process or others, may work on one store at once."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        reader: RecordReader,
        catalog: Catalog,
        key: SigningKey,
        news: ModelNews,
        clock: Clock,
        intents: Intents,
    ) -> None:
        """Wire the parts; nothing is read or written."""
        self._store = store
        self._reader = reader
        self._catalog = catalog
        self._key = key
        self._news = news
        self._clock = clock
        self._intents = intents
        # Saves racing publishers of one process from colliding; safety rests on the store alone.
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def publish(self, request: PublishRequest, chunks: AsyncIterator[Chunk]) -> tuple[StoredVersion, bool]:
        """Take an upload to its end and make it a version.

        Args:
            request: As check_request returned it.
            chunks: The content of every announced file.

        Returns:
            The version, and whether it is new: content that the model already holds keeps its version.

        Raises:
            InvalidArgumentError: the upload is not what was announced, or its package does not parse.
            VersionTakenError: the requested number holds other content.
            AbortedError: a collector took a part of the upload, or too many numbers went to others; try again.
            UnavailableError: the store failed. Nothing is listed, and the same publish may be tried again.
        """
        outwait_until_s = await self._intents.declare(request)
        blake3_by_path = await self._upload(request, chunks)
        try:
            config = await self._package(request)
            await self._intents.outwait(outwait_until_s)
            await self._all_there(request)
        except ObjectNotFoundError:
            # A collector that was under way when this publish began; the intent keeps the next one off.
            raise AbortedError("a part of the upload went from the store again; try again") from None
        async with self._turns.setdefault((request.tenant, request.model), asyncio.Lock()):
            version, is_new = await self._commit(request, config, blake3_by_path)
        self._catalog.learn_version(version)
        if is_new:
            await self._announce(version)
        return version, is_new

    async def _upload(self, request: PublishRequest, chunks: AsyncIterator[Chunk]) -> dict[str, str]:
        """Bring every file into the store, and return the second digests of the bytes that went there."""
        upload = Upload(request.files, chunks)
        blake3_by_path: dict[str, str] = {}
        while (file := await upload.next_file()) is not None:
            digest = blake3()
            try:
                await self._store.put_blob(
                    layout.blob(request.tenant, file.sha256),
                    _digested(upload.content(file), digest),
                    size_bytes=file.size_bytes,
                    sha256=file.sha256,
                )
            except BlobMismatchError as error:
                raise InvalidArgumentError(f"{file.path}: {error}") from error
            blake3_by_path[file.path] = digest.hexdigest()
        return blake3_by_path

    async def _all_there(self, request: PublishRequest) -> None:
        """Look once more before the commit: a version must never list what the store does not hold."""
        for file in request.files:
            await self._store.read(layout.blob(request.tenant, file.sha256), length=1)

    async def _package(self, request: PublishRequest) -> ModelConfig:
        """Read what the registry needs to know of the uploaded package; one that does not parse is refused here."""
        model_file = file_named(request.files, MODEL_FILE)
        if model_file is None:
            raise InvalidArgumentError(f"files: a version needs {MODEL_FILE}")
        config = parse_model_config(await self._reader.uploaded(request.tenant, request.model, model_file))
        await self._check_weights(request, config)
        evaluation_file = file_named(request.files, EVALUATION_FILE)
        if evaluation_file is not None:
            data = await self._reader.uploaded(request.tenant, request.model, evaluation_file)
            for item in await asyncio.to_thread(parse_evaluation, data):
                if len(item.confusion) != len(config.labels):
                    raise InvalidArgumentError(
                        f"{EVALUATION_FILE}: {item.name} counts {len(item.confusion)} labels, "
                        f"{MODEL_FILE} has {len(config.labels)}"
                    )
        return config

    async def _check_weights(self, request: PublishRequest, config: ModelConfig) -> None:
        """A version that no worker could load must not exist: its evaluation alone would get it promoted."""
        weights_file = file_named(request.files, WEIGHTS_FILE)
        if weights_file is None:
            raise InvalidArgumentError(f"files: a version needs {WEIGHTS_FILE}")
        start = await self._reader.uploaded_start(request.tenant, weights_file, length=MAX_START_BYTES)
        await asyncio.to_thread(check_weights, config, start, weights_bytes=weights_file.size_bytes)

    async def _commit(
        self, request: PublishRequest, config: ModelConfig, blake3_by_path: Mapping[str, str]
    ) -> tuple[StoredVersion, bool]:
        for attempt in range(1, MAX_CLAIMS + 1):
            number = await self._claimed_number(request, attempt)
            try:
                existing = await self._reader.version(request.tenant, request.model, number)
            except ModelVersionNotFoundError:
                if request.number not in (0, number):
                    raise AbortedError(
                        f"this content is being published as version {number}; ask for that number, or for 0"
                    ) from None
                existing, is_new = await self._create(request, config, blake3_by_path, number)
                if is_new:
                    return existing, True
            if existing.manifest.root_sha256 == request.root_sha256:
                return existing, False
            if request.number == number:
                if (held := await self._held(request, after=attempt)) is not None:
                    return held, False
                raise VersionTakenError(f"version {number} of model {request.model} holds other content")
        raise AbortedError(f"{MAX_CLAIMS} numbers in a row went to other publishers; try again")

    async def _held(self, request: PublishRequest, *, after: int) -> StoredVersion | None:
        """Return the version that a later claim of the same content has led to, if one has."""
        for attempt in range(after + 1, MAX_CLAIMS + 1):
            try:
                number = await read_claim(
                    self._store, layout.claim(request.tenant, request.model, request.root_sha256, attempt)
                )
            except ObjectNotFoundError:
                break
            with suppress(ModelVersionNotFoundError):
                version = await self._reader.version(request.tenant, request.model, number)
                if version.manifest.root_sha256 == request.root_sha256:
                    return version
        return None

    async def _claimed_number(self, request: PublishRequest, attempt: int) -> int:
        key = layout.claim(request.tenant, request.model, request.root_sha256, attempt)
        try:
            return await read_claim(self._store, key)
        except ObjectNotFoundError:
            number = request.number or await self._next_number(request)
        try:
            await create_settled(self._store, key, new_claim(number))
        except ObjectExistsError:
            return await read_claim(self._store, key)
        return number

    async def _next_number(self, request: PublishRequest) -> int:
        names = await self._store.names_below(layout.versions(request.tenant, request.model))
        return 1 + max((int(name) for name in names if name.isdecimal()), default=0)

    async def _create(
        self, request: PublishRequest, config: ModelConfig, blake3_by_path: Mapping[str, str], number: int
    ) -> tuple[StoredVersion, bool]:
        manifest = manifest_of(
            request,
            config,
            blake3_by_path,
            number=number,
            publish_time=self._clock.now(),
            nonce=secrets.token_hex(16),
        )
        version = await asyncio.to_thread(sign_version, manifest, self._key)
        key = layout.version(request.tenant, request.model, number)
        try:
            await create_settled(self._store, key, version_object(version))
        except ObjectExistsError:
            return await self._reader.version(request.tenant, request.model, number), False
        return version, True

    async def _announce(self, version: StoredVersion) -> None:
        manifest = version.manifest
        logger.info(
            "version published",
            extra={"tenant": manifest.tenant, "model": manifest.model, "version": manifest.number},
        )
        try:
            await self._news.version_published(manifest)
        except DragomanError:
            # The version stands: the store is the truth, and followers that missed the news find it there.
            logger.exception(
                "event lost: VersionPublished",
                extra={"model": manifest.model, "version": manifest.number},
            )


async def _digested(chunks: AsyncIterator[bytes], digest: blake3) -> AsyncIterator[bytes]:
    # A chunk is at most a message, so the loop stands still for a tenth of a millisecond per MiB.
    async for chunk in chunks:
        digest.update(chunk)
        yield chunk
