# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Evidence: what somebody measured of a version, or decided about it, after it was published; signed by the registry.

Owns the record around a document and its place. What the document of each kind says is evidence_document's; whose word
counts for what is the registry's.

    kind, document -> EvidenceRecord -> sign_evidence -> envelope -> verify_evidence -> EvidenceRecord
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime

from dragoman_models.evidence_document import KINDS, MAX_DOCUMENT_CHARS, check_document
from dragoman_models.fields import Fields
from dragoman_models.record_fields import (
    MAX_INTEGER,
    canonical,
    canonical_json,
    payload_object,
    sha256_field,
    time_field,
    time_text,
)
from dragoman_models.signing import SigningKey, sign_envelope
from dragoman_models.verify import VerifyingKeys, verify_record

EVIDENCE_FORMAT = "dragoman.evidence/1"
EVIDENCE_PAYLOAD_TYPE = "application/vnd.dragoman.evidence.v1+json"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvidenceRecord:
    """One document about one version, and who added it.

    Attributes:
        root_sha256: The version's content: evidence never speaks for other content under the same number.
        kind: One of evidence_document.KINDS.
        document: JSON text of the kind's format, as it was added.
        added_by: The caller's identity and subject.
    """

    tenant: str
    model: str
    version: int
    root_sha256: str
    kind: str
    document: str
    added_by: str
    add_time: datetime

    @property
    def digest(self) -> str:
        """SHA-256 over everything but the time: the same said again by the same caller is the same evidence."""
        content = asdict(self)
        del content["add_time"]
        return hashlib.sha256(canonical_json(content)).hexdigest()

    def to_payload(self) -> bytes:
        """Write the canonical JSON."""
        return canonical_json({**asdict(self), "format": EVIDENCE_FORMAT, "add_time": time_text(self.add_time)})


def sign_evidence(record: EvidenceRecord, key: SigningKey) -> bytes:
    """Return the envelope of the record."""
    return sign_envelope(EVIDENCE_PAYLOAD_TYPE, record.to_payload(), key)


def verify_evidence(
    envelope: bytes, keys: VerifyingKeys, *, tenant: str, model: str, version: int, digest: str
) -> EvidenceRecord:
    """Return the evidence that is expected at this place.

    Raises:
        DataLossError: no trusted signature, no evidence, or the evidence of another place.
    """
    what = f"{tenant}/{model}/evidence/{version}/{digest}"
    return verify_record(
        envelope,
        EVIDENCE_PAYLOAD_TYPE,
        keys,
        parse_evidence,
        what=what,
        holds="the signed evidence",
        place=lambda record: f"{record.tenant}/{record.model}/evidence/{record.version}/{record.digest}",
    )


def parse_evidence(payload: bytes, *, what: str) -> EvidenceRecord:
    """Read a payload.

    Raises:
        InvalidArgumentError: not the one byte form of an evidence record, or a document that its kind does not allow.
    """
    top = Fields(
        payload_object(payload, what=what), what=what, required=(*EvidenceRecord.__dataclass_fields__, "format")
    )
    top.text("format", choices=(EVIDENCE_FORMAT,))
    record = EvidenceRecord(
        tenant=top.text("tenant"),
        model=top.text("model"),
        version=top.integer("version", low=1, high=MAX_INTEGER),
        root_sha256=sha256_field(top, "root_sha256"),
        kind=top.text("kind", choices=KINDS),
        document=top.text("document", max_chars=MAX_DOCUMENT_CHARS),
        added_by=top.text("added_by", max_chars=1024),
        add_time=time_field(top, "add_time"),
    )
    check_document(record.kind, record.document)
    return canonical(record, payload, what)
