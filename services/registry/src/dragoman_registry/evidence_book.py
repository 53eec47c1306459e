# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Adding evidence to a version, and reading it back.

    statement -> verified version -> role -> document -> retraction of what? -> sign -> create evidence/<n>/<digest>

The key follows from what is said and by whom, so a retry finds its own first write, and the same is never there twice.
"""

import asyncio
import logging

from dragoman_common.clock import Clock
from dragoman_common.errors import FailedPreconditionError
from dragoman_models.evidence import EvidenceRecord, sign_evidence
from dragoman_models.evidence_document import RETRACTION, parse_retraction
from dragoman_models.record import VersionManifest
from dragoman_models.signing import SigningKey
from dragoman_registry import layout
from dragoman_registry.catalog import Catalog
from dragoman_registry.evidence import Statement, StoredEvidence, check_retraction, check_role, check_statement
from dragoman_registry.ports import ObjectExistsError, ObjectStore
from dragoman_registry.record_reader import RecordReader
from dragoman_registry.settled import create_settled

logger = logging.getLogger(__name__)

MAX_EVIDENCE = 1000
# Whatever the others fill, each of them can be retracted.
MAX_WITH_RETRACTIONS = 2 * MAX_EVIDENCE


class EvidenceBook:
    """Writes evidence; what is written stays."""

    def __init__(
        self, *, store: ObjectStore, reader: RecordReader, catalog: Catalog, key: SigningKey, clock: Clock
    ) -> None:
        """Wire the parts; nothing is read or written."""
        self._store = store
        self._reader = reader
        self._catalog = catalog
        self._key = key
        self._clock = clock

    async def add(self, statement: Statement) -> tuple[StoredEvidence, bool]:
        """Keep a statement.

        Returns:
            The evidence, and whether it is new.

        Raises:
            ModelVersionNotFoundError: no such version.
            PermissionDeniedError: it is not the caller's to say.
            InvalidArgumentError: the document is not one of its kind, or about other content.
            EvidenceNotFoundError: a retraction of what nobody said of this version.
            FailedPreconditionError: the version has as much evidence as it may, or the same was said and retracted.
        """
        version = await self._catalog.checked_version(statement.tenant, statement.model, statement.version)
        manifest = version.manifest
        check_role(statement, manifest)
        await asyncio.to_thread(check_statement, statement, manifest)
        if statement.kind == RETRACTION:
            digest = parse_retraction(statement.document).digest
            check_retraction(statement, (await self._reader.one_evidence(manifest, digest)).record)
        record = EvidenceRecord(
            tenant=statement.tenant,
            model=statement.model,
            version=statement.version,
            root_sha256=manifest.root_sha256,
            kind=statement.kind,
            document=statement.document,
            added_by=statement.added_by,
            add_time=self._clock.now(),
        )
        names = await self._store.names_below(layout.evidence(record.tenant, record.model, record.version))
        if record.digest in names:
            await self._refuse_retracted(manifest, record.digest)
            return await self._reader.one_evidence(manifest, record.digest), False
        if len(names) >= (MAX_WITH_RETRACTIONS if record.kind == RETRACTION else MAX_EVIDENCE):
            raise FailedPreconditionError(
                f"version {record.version} of model {record.model} has {MAX_EVIDENCE} pieces of evidence, the limit"
            )
        envelope = await asyncio.to_thread(sign_evidence, record, self._key)
        key = layout.evidence_record(record.tenant, record.model, record.version, record.digest)
        try:
            await create_settled(self._store, key, envelope)
        except ObjectExistsError:
            return await self._reader.one_evidence(manifest, record.digest), False
        logger.info(
            "evidence added",
            extra={"tenant": record.tenant, "model": record.model, "version": record.version, "kind": record.kind},
        )
        return StoredEvidence(record=record, digest=record.digest, envelope=envelope), True

    async def _refuse_retracted(self, manifest: VersionManifest, digest: str) -> None:
        for item in await self._reader.evidence(manifest):
            if item.record.kind == RETRACTION and parse_retraction(item.record.document).digest == digest:
                raise FailedPreconditionError(
                    f"this was said and then retracted by {item.record.added_by}; to say it anew, use other words"
                )

    async def of_version(self, tenant: str, model: str, number: int) -> list[StoredEvidence]:
        """Return a version's evidence, oldest first.

        Raises:
            ModelVersionNotFoundError: no such version.
            DataLossError: a record does not verify.
        """
        version = await self._catalog.checked_version(tenant, model, number)
        return await self._reader.evidence(version.manifest)
