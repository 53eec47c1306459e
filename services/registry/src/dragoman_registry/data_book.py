# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets: files under a name, kept once, signed, never changed.

    put: intent -> blobs -> is the newest of this name the same? that one, else sign -> create data/<name>/sets/<n>
    get: data/<name>/sets/<newest or by digest> -> verified -> files

The files are blobs like those of versions, so equal content is kept once and garbage collection knows both. The newest
number of a name is what the name means; whoever pins the digest gets those files or none.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from dragoman_common.clock import Clock
from dragoman_common.errors import AbortedError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from dragoman_common.names import check_name, is_name
from dragoman_models.data_set import (
    DataSetRecord,
    check_data_files,
    data_sha256,
    sign_data_set,
    verify_data_set,
)
from dragoman_models.file_digest import FileDigest
from dragoman_models.signing import SigningKey
from dragoman_models.verify import VerifyingKeys
from dragoman_registry import layout
from dragoman_registry.ports import BlobMismatchError, ObjectExistsError, ObjectNotFoundError, ObjectStore
from dragoman_registry.publish_intent import Intents
from dragoman_registry.settled import create_settled
from dragoman_registry.signed_object import read_signed
from dragoman_registry.upload import Chunk, Upload

MAX_SETS: Final = 1000
"""Of one name; each is read when a digest is looked up."""
MAX_RACES: Final = 100

logger = logging.getLogger(__name__)


class DataSetNotFoundError(NotFoundError):
    """The tenant has no such data set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredDataSet:
    """A data set as the store keeps it, verified."""

    record: DataSetRecord
    envelope: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class DataPut:
    """A wish to keep files under a name."""

    tenant: str
    name: str
    files: tuple[FileDigest, ...]
    publisher: str

    @property
    def root_sha256(self) -> str:
        return data_sha256(self.files)

    @property
    def publish_id(self) -> str:
        return self.root_sha256

    @property
    def intents(self) -> str:
        return layout.data_intents(self.tenant, self.name)

    @property
    def claims_of(self) -> str:
        return ""


def check_put(wish: DataPut, *, max_file_bytes: int, max_bytes: int) -> DataPut:
    """Return the wish with its files in path order.

    Raises:
        InvalidArgumentError: a name, path, size or digest that is not allowed.
    """
    check_name(wish.name, field="name")
    files = check_data_files(wish.files)
    for file in files:
        if file.size_bytes > max_file_bytes:
            raise InvalidArgumentError(f"files: {file.path} has {file.size_bytes} bytes, the limit is {max_file_bytes}")
    if (total := sum(file.size_bytes for file in files)) > max_bytes:
        raise InvalidArgumentError(f"files: {total} bytes in all, the limit is {max_bytes}")
    return DataPut(tenant=wish.tenant, name=wish.name, files=files, publisher=wish.publisher)


class DataBook:
    """Keeps and finds data sets. Several registries may do so on one store at once."""

    def __init__(
        self, *, store: ObjectStore, keys: VerifyingKeys, key: SigningKey, clock: Clock, intents: Intents
    ) -> None:
        """Wire the parts; nothing is read or written."""
        self._store = store
        self._keys = keys
        self._key = key
        self._clock = clock
        self._intents = intents

    async def put(self, wish: DataPut, chunks: AsyncIterator[Chunk]) -> tuple[StoredDataSet, bool]:
        """Take an upload to its end and make it the newest data set of its name.

        Args:
            wish: As check_put returned it.
            chunks: The content of every announced file.

        Returns:
            The data set, and whether it is new: what the newest one holds is not kept again.

        Raises:
            InvalidArgumentError: the upload is not what was announced.
            AbortedError: a collector took a part of the upload, or other puts were always first; try again.
            FailedPreconditionError: the name has as many data sets as it may.
            UnavailableError: the store failed. Nothing is listed, and the same put may be tried again.
        """
        outwait_until_s = await self._intents.declare(wish)
        upload = Upload(wish.files, chunks)
        while (file := await upload.next_file()) is not None:
            key = layout.blob(wish.tenant, file.sha256)
            try:
                await self._store.put_blob(key, upload.content(file), size_bytes=file.size_bytes, sha256=file.sha256)
            except BlobMismatchError as error:
                raise InvalidArgumentError(f"{file.path}: {error}") from error
        await self._intents.outwait(outwait_until_s)
        try:
            for file in wish.files:
                await self._store.read(layout.blob(wish.tenant, file.sha256), length=1)
        except ObjectNotFoundError:
            raise AbortedError("a part of the upload went from the store again; try again") from None
        return await self._commit(wish)

    async def get(self, tenant: str, name: str, sha256: str = "") -> StoredDataSet:
        """Return the newest data set of a name, or the newest with this digest.

        Raises:
            DataSetNotFoundError: there is none.
            DataLossError: one that was looked at does not verify.
        """
        for number in reversed(await self._numbers(tenant, name)):
            found = await self._read(tenant, name, number)
            if sha256 in ("", found.record.sha256):
                return found
        which = f"{name} with digest {sha256}" if sha256 else name
        raise DataSetNotFoundError(f"there is no data set {which} in the store; `dragoman data put` keeps one")

    async def names(self, tenant: str) -> list[str]:
        """Return the names that have a data set, sorted."""
        names = [name for name in await self._store.names_below(layout.data(tenant)) if is_name(name)]
        return [name for name in names if await self._numbers(tenant, name)]

    async def referenced(self, tenant: str) -> set[str]:
        """Return the digests of all files of all data sets: what must not be collected.

        Raises:
            DataLossError: a data set does not verify.
        """
        return {file.sha256 for stored in await self.all_of(tenant) for file in stored.record.files}

    async def all_of(self, tenant: str) -> list[StoredDataSet]:
        """Return every data set of a tenant.

        Raises:
            DataLossError: one of them does not verify.
        """
        return [
            await self._read(tenant, name, number)
            for name in await self.names(tenant)
            for number in await self._numbers(tenant, name)
        ]

    async def _commit(self, wish: DataPut) -> tuple[StoredDataSet, bool]:
        for _ in range(MAX_RACES):
            numbers = await self._numbers(wish.tenant, wish.name)
            if numbers:
                newest = await self._read(wish.tenant, wish.name, numbers[-1])
                if newest.record.sha256 == wish.root_sha256:
                    return newest, False
            if len(numbers) >= MAX_SETS:
                raise FailedPreconditionError(
                    f"data set {wish.name} was put {MAX_SETS} times, the limit; use another name"
                )
            record = DataSetRecord(
                tenant=wish.tenant,
                name=wish.name,
                number=numbers[-1] + 1 if numbers else 1,
                sha256=wish.root_sha256,
                files=wish.files,
                put_by=wish.publisher,
                put_time=self._clock.now(),
                nonce=secrets.token_hex(16),
            )
            envelope = await asyncio.to_thread(sign_data_set, record, self._key)
            try:
                await create_settled(self._store, layout.data_set(wish.tenant, wish.name, record.number), envelope)
            except ObjectExistsError:
                continue
            logger.info("data set kept", extra={"tenant": wish.tenant, "data_set": wish.name, "number": record.number})
            return StoredDataSet(record=record, envelope=envelope), True
        raise AbortedError(f"{MAX_RACES} others were first to put data set {wish.name}; try again")

    async def _numbers(self, tenant: str, name: str) -> list[int]:
        names = await self._store.names_below(layout.data_sets(tenant, name))
        return sorted(int(found) for found in names if found.isdecimal())

    async def _read(self, tenant: str, name: str, number: int) -> StoredDataSet:
        envelope = await read_signed(self._store, self._keys, layout.data_set(tenant, name, number))
        record = verify_data_set(envelope, self._keys, tenant=tenant, name=name, number=number)
        return StoredDataSet(record=record, envelope=envelope)
