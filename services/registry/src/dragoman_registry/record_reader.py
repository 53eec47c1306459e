# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Records out of the store: read, verified, and only then believed.

Owns the step from keys to verified versions and chains, and small files checked against a manifest. Verification is
remembered by the digest of the bytes that were verified, so an unchanged record costs one hash and a changed one is
caught at its next read.
"""

import asyncio
import hashlib
from collections import OrderedDict

from dragoman_common.errors import DataLossError
from dragoman_models.evaluation import DatasetEvaluation, parse_evaluation
from dragoman_models.evidence import EvidenceRecord, verify_evidence
from dragoman_models.file_digest import FileDigest
from dragoman_models.package import EVALUATION_FILE
from dragoman_models.record import VersionManifest
from dragoman_models.tombstone import verify_tombstone
from dragoman_models.verify import VerifyingKeys
from dragoman_models.verify_files import verify_chunks
from dragoman_registry import layout
from dragoman_registry.alias import StoredEvent, extend_chain
from dragoman_registry.bounded import map_bounded
from dragoman_registry.evidence import EvidenceNotFoundError, StoredEvidence
from dragoman_registry.model_version import (
    ModelVersionNotFoundError,
    StoredTombstone,
    StoredVersion,
    file_named,
    read_version_object,
)
from dragoman_registry.ports import ObjectNotFoundError, ObjectStore
from dragoman_registry.signed_object import read_signed

MAX_REMEMBERED = 10_000
# The catalogue holds the versions anyway, so remembering one more costs its digest.
MAX_REMEMBERED_VERSIONS = 100_000
READS_AT_ONCE = 16


class RecordReader:
    """Reads what the registry signed. Every DataLossError names the object; nothing else is affected by it."""

    def __init__(self, store: ObjectStore, keys: VerifyingKeys) -> None:
        self._store = store
        self._keys = keys
        self._verified: OrderedDict[tuple[str, bytes], StoredVersion] = OrderedDict()
        self._evidence: OrderedDict[tuple[str, bytes], EvidenceRecord] = OrderedDict()
        self._chains: OrderedDict[str, tuple[list[bytes], list[StoredEvent]]] = OrderedDict()

    def forget(self) -> None:
        """Verify every record again at its next read: the keys that count have changed."""
        self._verified.clear()
        self._evidence.clear()
        self._chains.clear()

    async def version(self, tenant: str, model: str, number: int) -> StoredVersion:
        """Return one version.

        Raises:
            ModelVersionNotFoundError: there is none of that number.
            DataLossError: what is kept under the number is not that version.
        """
        key = layout.version(tenant, model, number)
        try:
            data = await read_signed(self._store, self._keys, key)
        except ObjectNotFoundError:
            raise ModelVersionNotFoundError(f"model {model} has no version {number}") from None
        seen = (key, hashlib.sha256(data).digest())
        if seen not in self._verified:
            self._verified[seen] = read_version_object(data, self._keys, tenant=tenant, model=model, number=number)
            if len(self._verified) > MAX_REMEMBERED_VERSIONS:
                self._verified.popitem(last=False)
        return self._verified[seen]

    async def chain(self, tenant: str, model: str, alias: str) -> list[StoredEvent]:
        """Return every event of an alias, oldest first; empty when there is no such alias. Every event is read.

        Raises:
            DataLossError: an event is missing, is not this alias's, or does not continue the one before it.
        """
        key = layout.alias(tenant, model, alias)
        # As many events as names: with a gap, or a name that is no sequence, one of these reads finds nothing.
        length = len(await self._store.names_below(key))

        async def read(sequence: int) -> bytes:
            return await self._event(tenant, model, alias, sequence)

        found = await map_bounded(read, range(1, length + 1), width=READS_AT_ONCE)
        digests = [hashlib.sha256(data).digest() for data in found]
        known_digests, known = self._chains.get(key, ([], []))
        # Only an unchanged beginning may be taken over: the first changed event breaks the chain from there on.
        kept = next((i for i, pair in enumerate(zip(known_digests, digests, strict=False)) if pair[0] != pair[1]), None)
        chain = known[: min(len(known), len(digests)) if kept is None else kept]
        for data in found[len(chain) :]:
            chain.append(extend_chain(chain, data, self._keys, tenant=tenant, model=model, alias=alias))
        self._remember(key, digests, chain)
        return list(chain)

    async def followed_chain(self, tenant: str, model: str, alias: str) -> list[StoredEvent]:
        """Return what chain returns, by reading the newest event that is known and what follows it.

        The events before are those that were verified when they were read: what happens to them in the store does not
        show here, and changes nothing of what is returned.

        Raises:
            DataLossError: the newest known event is gone or changed, or what follows does not continue the chain.
        """
        key = layout.alias(tenant, model, alias)
        known_digests, known = self._chains.get(key, ([], []))
        if not known:
            return await self.chain(tenant, model, alias)

        async def read(sequence: int) -> bytes | None:
            try:
                return await read_signed(self._store, self._keys, layout.alias_event(tenant, model, alias, sequence))
            except ObjectNotFoundError:
                return None

        newest, following = await asyncio.gather(read(len(known)), read(len(known) + 1))
        if newest is None:
            raise DataLossError(f"{tenant}/{model}/aliases/{alias}: event {len(known)} is gone from the store")
        if hashlib.sha256(newest).digest() != known_digests[-1]:
            # Signed again, or damaged: that the whole chain tells.
            return await self.chain(tenant, model, alias)
        digests, chain = list(known_digests), list(known)
        while following is not None:
            chain.append(extend_chain(chain, following, self._keys, tenant=tenant, model=model, alias=alias))
            digests.append(hashlib.sha256(following).digest())
            following = await read(len(chain) + 1)
        self._remember(key, digests, chain)
        return list(chain)

    def _remember(self, key: str, digests: list[bytes], chain: list[StoredEvent]) -> None:
        self._chains[key] = (digests, chain)
        self._chains.move_to_end(key)
        if len(self._chains) > MAX_REMEMBERED:
            self._chains.popitem(last=False)

    async def tombstone(self, manifest: VersionManifest) -> StoredTombstone | None:
        """Return the word that a version is withdrawn, if there is one.

        Raises:
            DataLossError: what is kept there does not verify, or speaks of other content.
        """
        tenant, model, number = manifest.tenant, manifest.model, manifest.number
        key = layout.tombstone(tenant, model, number)
        try:
            data = await read_signed(self._store, self._keys, key)
        except ObjectNotFoundError:
            return None
        record = verify_tombstone(data, self._keys, tenant=tenant, model=model, version=number)
        if record.root_sha256 != manifest.root_sha256:
            raise DataLossError(f"{tenant}/{model}/tombstones/{number}: speaks of other content")
        return StoredTombstone(record=record, envelope=data)

    async def evidence(self, manifest: VersionManifest) -> list[StoredEvidence]:
        """Return what was added to a version, oldest first.

        Raises:
            DataLossError: one of them does not verify, or speaks of other content than the version's.
        """
        tenant, model, number = manifest.tenant, manifest.model, manifest.number
        names = await self._store.names_below(layout.evidence(tenant, model, number))
        found = await map_bounded(lambda name: self.one_evidence(manifest, name), names, width=READS_AT_ONCE)
        return sorted(found, key=lambda item: (item.record.add_time, item.digest))

    async def one_evidence(self, manifest: VersionManifest, digest: str) -> StoredEvidence:
        """Return the evidence of that digest.

        Raises:
            EvidenceNotFoundError: there is none.
            DataLossError: it does not verify, or speaks of other content than the version's.
        """
        tenant, model, number = manifest.tenant, manifest.model, manifest.number
        key = layout.evidence_record(tenant, model, number, digest)
        try:
            data = await read_signed(self._store, self._keys, key)
        except ObjectNotFoundError:
            raise EvidenceNotFoundError(f"version {number} of model {model} has no evidence {digest}") from None
        seen = (key, hashlib.sha256(data).digest())
        if seen not in self._evidence:
            self._evidence[seen] = await asyncio.to_thread(
                verify_evidence, data, self._keys, tenant=tenant, model=model, version=number, digest=digest
            )
            if len(self._evidence) > MAX_REMEMBERED:
                self._evidence.popitem(last=False)
        record = self._evidence[seen]
        if record.root_sha256 != manifest.root_sha256:
            raise DataLossError(f"{tenant}/{model}/evidence/{number}/{digest}: speaks of other content")
        return StoredEvidence(record=record, digest=digest, envelope=data)

    async def file(self, manifest: VersionManifest, file: FileDigest) -> bytes:
        """Return a small file of a version, checked against its manifest.

        Raises:
            DataLossError: the store holds other bytes, or none.
        """
        what = f"{manifest.tenant}/{manifest.model}/versions/{manifest.number}"
        try:
            return await self._checked(manifest.tenant, file, what)
        except ObjectNotFoundError:
            raise DataLossError(f"{what}/{file.path}: the content is missing from the store") from None

    async def uploaded(self, tenant: str, model: str, file: FileDigest) -> bytes:
        """Return a small file that a publish has uploaded, before there is a version that lists it.

        Raises:
            ObjectNotFoundError: the store holds none: a collector that was under way has taken it.
            DataLossError: the store holds other bytes.
        """
        return await self._checked(tenant, file, f"{tenant}/{model}")

    async def uploaded_start(self, tenant: str, file: FileDigest, *, length: int) -> bytes:
        """Return the first bytes of a file that a publish has uploaded; its whole content was checked when it came in.

        Raises:
            ObjectNotFoundError: the store holds none: a collector that was under way has taken it.
        """
        return await self._store.read(layout.blob(tenant, file.sha256), length=length)

    async def evaluations(self, manifest: VersionManifest) -> tuple[DatasetEvaluation, ...]:
        """Return what a version measured about itself; empty when it carries no evaluation.json."""
        file = file_named(manifest.files, EVALUATION_FILE)
        if file is None:
            return ()
        return await asyncio.to_thread(parse_evaluation, await self.file(manifest, file))

    async def _checked(self, tenant: str, file: FileDigest, what: str) -> bytes:
        data = await self._store.read(layout.blob(tenant, file.sha256), length=file.size_bytes + 1)
        verify_chunks([data], file, what=what)
        return data

    async def _event(self, tenant: str, model: str, alias: str, sequence: int) -> bytes:
        try:
            return await read_signed(self._store, self._keys, layout.alias_event(tenant, model, alias, sequence))
        except ObjectNotFoundError:
            raise DataLossError(
                f"{tenant}/{model}/aliases/{alias}/{sequence}: the event is missing, or what is no event was added"
            ) from None
