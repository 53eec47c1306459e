# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A tombstone: the signed word that a version is out of use for good, though it stays in the history.

Owns the record, its strict parsing and its verification. What follows from it is the registry's and the workers'.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from dragoman_models.fields import Fields
from dragoman_models.record_fields import (
    MAX_INTEGER,
    canonical,
    canonical_json,
    payload_object,
    sha256_field,
    text_value,
    time_field,
    time_text,
)
from dragoman_models.signing import SigningKey, sign_envelope
from dragoman_models.verify import VerifyingKeys, verify_record

TOMBSTONE_FORMAT = "dragoman.tombstone/1"
TOMBSTONE_PAYLOAD_TYPE = "application/vnd.dragoman.tombstone.v1+json"


@dataclass(frozen=True, kw_only=True, slots=True)
class TombstoneRecord:
    """One withdrawn version: exactly this content, why, by whom and when."""

    tenant: str
    model: str
    version: int
    root_sha256: str
    reason: str
    withdrawn_by: str
    withdraw_time: datetime
    nonce: str

    def to_payload(self) -> bytes:
        """Write the canonical JSON."""
        content = asdict(self)
        return canonical_json({**content, "format": TOMBSTONE_FORMAT, "withdraw_time": time_text(self.withdraw_time)})


def sign_tombstone(record: TombstoneRecord, key: SigningKey) -> bytes:
    """Return the envelope of the record."""
    return sign_envelope(TOMBSTONE_PAYLOAD_TYPE, record.to_payload(), key)


def verify_tombstone(envelope: bytes, keys: VerifyingKeys, *, tenant: str, model: str, version: int) -> TombstoneRecord:
    """Return the tombstone that is expected at this place.

    Raises:
        DataLossError: no trusted signature, no tombstone, or another version's.
    """
    what = f"{tenant}/{model}/tombstones/{version}"
    return verify_record(
        envelope,
        TOMBSTONE_PAYLOAD_TYPE,
        keys,
        _parse,
        what=what,
        holds="the signed tombstone",
        place=lambda record: f"{record.tenant}/{record.model}/tombstones/{record.version}",
    )


def _parse(payload: bytes, *, what: str) -> TombstoneRecord:
    top = Fields(
        payload_object(payload, what=what), what=what, required=(*TombstoneRecord.__dataclass_fields__, "format")
    )
    top.text("format", choices=(TOMBSTONE_FORMAT,))
    record = TombstoneRecord(
        tenant=top.text("tenant"),
        model=top.text("model"),
        version=top.integer("version", low=1, high=MAX_INTEGER),
        root_sha256=sha256_field(top, "root_sha256"),
        reason=text_value(top.raw("reason"), f"{what}: reason"),
        withdrawn_by=top.text("withdrawn_by", max_chars=1024),
        withdraw_time=time_field(top, "withdraw_time"),
        nonce=top.text("nonce"),
    )
    return canonical(record, payload, what)
