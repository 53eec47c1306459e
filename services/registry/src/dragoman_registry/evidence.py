# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Evidence about a version: whose word counts for which kind, and for which versions.

Owns the role table and no I/O. The documents' formats are dragoman_models.evidence_document's, adding is
evidence_book's, and what the gate makes of it is gate_rules'.

    trainer     evaluation, robustness, measurement     of versions that its own job published
    operator    the same, and approval                  an approval never of what it published itself
    monitor     rollout-verdict
    all three   retraction                              of what the same caller said; an operator, of anything
"""

from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError
from dragoman_models.evidence import EvidenceRecord
from dragoman_models.evidence_document import (
    APPROVAL,
    EVALUATION,
    KINDS,
    MEASUREMENT,
    RETRACTION,
    ROBUSTNESS,
    ROLLOUT_VERDICT,
    check_document,
    parse_evaluation_document,
)
from dragoman_models.record import VersionManifest

_MEASURED = frozenset({EVALUATION, ROBUSTNESS, MEASUREMENT})
KINDS_BY_IDENTITY = {
    "trainer": _MEASURED | {RETRACTION},
    "operator": _MEASURED | {APPROVAL, RETRACTION},
    "monitor": frozenset({ROLLOUT_VERDICT, RETRACTION}),
}


class EvidenceNotFoundError(NotFoundError):
    """The version has no such evidence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvidence:
    """Evidence as the store keeps it, verified."""

    record: EvidenceRecord
    digest: str
    envelope: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """What somebody wants to add.

    Attributes:
        root_sha256: The content that was looked at; empty for whatever the version holds.
        identity: The caller's role.
        added_by: Identity and subject.
        job_id: The job that the caller's token is for; empty for none.
    """

    tenant: str
    model: str
    version: int
    kind: str
    document: str
    root_sha256: str
    identity: str
    added_by: str
    job_id: str


def check_role(statement: Statement, manifest: VersionManifest) -> None:
    """Refuse a statement that is not the caller's to make.

    Raises:
        InvalidArgumentError: an unknown kind.
        PermissionDeniedError: see the table above.
    """
    if statement.kind not in KINDS:
        raise InvalidArgumentError(f"kind {statement.kind[:64]!r} is none of {', '.join(KINDS)}")
    if statement.kind not in KINDS_BY_IDENTITY.get(statement.identity, ()):
        raise PermissionDeniedError(f"{statement.identity} may not add evidence of kind {statement.kind}")
    if statement.identity == "trainer" and (not statement.job_id or manifest.lineage.job_id != statement.job_id):
        raise PermissionDeniedError(
            f"version {manifest.number} of model {manifest.model} was not published by job {statement.job_id or 'none'}"
        )
    if statement.kind == APPROVAL and statement.added_by == manifest.publisher:
        raise PermissionDeniedError(
            f"{statement.added_by} published version {manifest.number}; somebody else must approve it"
        )


def check_retraction(statement: Statement, retracted: EvidenceRecord) -> None:
    """Refuse to retract what is not the caller's to retract.

    Raises:
        InvalidArgumentError: a retraction of a retraction; say again what was retracted, in other words.
        PermissionDeniedError: somebody else said it, and the caller is no operator.
    """
    if retracted.kind == RETRACTION:
        raise InvalidArgumentError("a retraction is not retracted: say again, in other words, what it took back")
    if statement.identity != "operator" and statement.added_by != retracted.added_by:
        raise PermissionDeniedError(f"{retracted.added_by} said this; only the same or an operator may retract it")


def check_statement(statement: Statement, manifest: VersionManifest) -> None:
    """Refuse a document that is malformed, or about something else than the version.

    Raises:
        InvalidArgumentError: which, and why.
    """
    if statement.root_sha256 not in ("", manifest.root_sha256):
        raise InvalidArgumentError(
            f"root_sha256 is not that of version {manifest.number}, which is {manifest.root_sha256}"
        )
    check_document(statement.kind, statement.document)
    if statement.kind == EVALUATION:
        for item in parse_evaluation_document(statement.document):
            if len(item.confusion) != len(manifest.labels):
                raise InvalidArgumentError(
                    f"evaluation: {item.name} counts {len(item.confusion)} labels, the version has "
                    f"{len(manifest.labels)}"
                )
