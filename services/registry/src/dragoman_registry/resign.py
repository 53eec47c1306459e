# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Signing again, under the present key, what an older key signed: before the older one is revoked altogether.

    every record that verifies now -> the same payload under the present key -> create beside it (signed_object)
    every head                     -> the same payload under the present key -> in its place

What does not verify is not signed; it is logged by name and stays as it is.
"""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from dragoman_common.errors import DataLossError
from dragoman_models.record import VersionManifest
from dragoman_models.signing import SigningKey, sign_envelope
from dragoman_models.verify import MAX_ENVELOPE_BYTES
from dragoman_registry import layout
from dragoman_registry.catalog import Catalog
from dragoman_registry.data_book import DataBook
from dragoman_registry.heads import Heads
from dragoman_registry.model_version import sign_version, version_object
from dragoman_registry.policy_book import PolicyBook
from dragoman_registry.ports import ObjectExistsError, ObjectStore
from dragoman_registry.record_reader import RecordReader
from dragoman_registry.signed_object import named_signer
from dragoman_text.strict_json import parse_object

logger = logging.getLogger(__name__)

# A key of the store, and the envelope that verified there, or the manifest of a version.
Signed = tuple[str, bytes | VersionManifest]


class Resigner:
    """Adds signatures; no record that is there is changed, and a run that was cut short goes on where it was."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        reader: RecordReader,
        catalog: Catalog,
        policies: PolicyBook,
        heads: Heads,
        data: DataBook,
        key: SigningKey,
    ) -> None:
        """Wire the parts; nothing is read or written."""
        self._store = store
        self._reader = reader
        self._catalog = catalog
        self._policies = policies
        self._heads = heads
        self._data = data
        self._key = key

    async def run(self) -> int:
        """Sign again whatever another key signed, of every tenant.

        Returns:
            How many signatures were added.
        """
        count = 0
        for tenant in await self._store.names_below(layout.TENANTS):
            for model in await self._store.names_below(layout.models(tenant)):
                async for key, signed in self._records(tenant, model):
                    count += await self._add(key, signed)
                for place in await self._heads.places(tenant, model):
                    count += await self._heads.sign_again(place)
            with suppress(DataLossError):
                for stored in await self._data.all_of(tenant):
                    key = layout.data_set(tenant, stored.record.name, stored.record.number)
                    count += await self._add(key, stored.envelope)
        logger.info("signed again", extra={"signatures": count, "key": self._key.key_id})
        return count

    async def _records(self, tenant: str, model: str) -> AsyncIterator[Signed]:
        for name in await self._store.names_below(layout.versions(tenant, model)):
            if not name.isdecimal():
                continue
            with suppress(DataLossError):
                version = await self._catalog.checked_version(tenant, model, int(name))
                async for signed in self._of_version(version.manifest, version.envelope):
                    yield signed
        for alias in await self._store.names_below(layout.aliases(tenant, model)):
            with suppress(DataLossError):
                for event in await self._catalog.checked_chain(tenant, model, alias):
                    yield layout.alias_event(tenant, model, alias, event.record.sequence), event.envelope
        with suppress(DataLossError):
            for policy in await self._policies.chain(tenant, model):
                yield layout.policy_record(tenant, model, policy.record.sequence), policy.envelope

    async def _of_version(self, manifest: VersionManifest, envelope: bytes) -> AsyncIterator[Signed]:
        tenant, model, number = manifest.tenant, manifest.model, manifest.number
        if named_signer(envelope) != self._key.key_id:
            yield layout.version(tenant, model, number), manifest
        if (tombstone := await self._catalog.checked_tombstone(manifest)) is not None:
            yield layout.tombstone(tenant, model, number), tombstone.envelope
        for evidence in await self._reader.evidence(manifest):
            yield layout.evidence_record(tenant, model, number, evidence.digest), evidence.envelope

    async def _add(self, key: str, signed: bytes | VersionManifest) -> bool:
        if isinstance(signed, VersionManifest):
            data = version_object(await asyncio.to_thread(sign_version, signed, self._key))
        elif named_signer(signed) == self._key.key_id:
            return False
        else:
            data = await asyncio.to_thread(self._again, signed)
        try:
            await self._store.create(layout.resigned(key, self._key.key_id), data)
        except ObjectExistsError:
            return False
        return True

    def _again(self, envelope: bytes) -> bytes:
        top = parse_object(envelope, what="envelope", max_bytes=MAX_ENVELOPE_BYTES)
        return sign_envelope(top["payloadType"], base64.b64decode(top["payload"], validate=True), self._key)
