# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A chain's head: the signed name of its newest event, so that a removed newest event is missed.

Each event names the one before it, so nothing in a chain can be taken out unseen but its end. The head names the end.
It is replaced at each move, so an old head may be put back with an old end: a reader that has seen a newer one, or
keeps a copy where the store's writers cannot reach it, is not taken in. Owns the record, its parsing and its
verification; when a head counts and what follows from it is the registry's.
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
    time_field,
    time_text,
)
from dragoman_models.signing import SigningKey, sign_envelope
from dragoman_models.verify import VerifyingKeys, verify_record

HEAD_FORMAT = "dragoman.head/1"
HEAD_PAYLOAD_TYPE = "application/vnd.dragoman.head.v1+json"


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadRecord:
    """The newest event of one chain of one model.

    Attributes:
        chain: ``aliases/<alias>`` or ``policies``.
        sequence: The event's.
        sha256: Of the event's payload.
        head_time: The event's own time, which never falls along a chain.
    """

    tenant: str
    model: str
    chain: str
    sequence: int
    sha256: str
    head_time: datetime

    def to_payload(self) -> bytes:
        """Write the canonical JSON."""
        return canonical_json({**asdict(self), "format": HEAD_FORMAT, "head_time": time_text(self.head_time)})


def sign_head(record: HeadRecord, key: SigningKey) -> bytes:
    """Return the envelope of the record."""
    return sign_envelope(HEAD_PAYLOAD_TYPE, record.to_payload(), key)


def verify_head(envelope: bytes, keys: VerifyingKeys, *, tenant: str, model: str, chain: str) -> HeadRecord:
    """Return the head that is expected at this place.

    Raises:
        DataLossError: no trusted signature, no head, or another chain's.
    """
    what = f"{tenant}/{model}/heads/{chain}"
    return verify_record(
        envelope,
        HEAD_PAYLOAD_TYPE,
        keys,
        _parse,
        what=what,
        holds="the signed head",
        place=lambda record: f"{record.tenant}/{record.model}/heads/{record.chain}",
    )


def _parse(payload: bytes, *, what: str) -> HeadRecord:
    top = Fields(payload_object(payload, what=what), what=what, required=(*HeadRecord.__dataclass_fields__, "format"))
    top.text("format", choices=(HEAD_FORMAT,))
    record = HeadRecord(
        tenant=top.text("tenant"),
        model=top.text("model"),
        chain=top.text("chain"),
        sequence=top.integer("sequence", low=1, high=MAX_INTEGER),
        sha256=sha256_field(top, "sha256"),
        head_time=time_field(top, "head_time"),
    )
    return canonical(record, payload, what)
