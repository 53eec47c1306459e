# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A model's gate policy as it is signed: what a move of each alias must satisfy, one chained record a change.

Owns the record, its strict parsing and its verification. What the rules mean is the registry's gate_rules.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.fields import Fields
from dragoman_models.gate_basis import LostEvent, parse_lost_event
from dragoman_models.gate_rule import MAX_RULES, GateRule, check_rules, parse_rule
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

# Format 2 is that of a record by which the loss of others is accepted; see record.ALIAS_FORMAT_2 for why it is its own.
POLICY_FORMAT = "dragoman.gate-policy/1"
POLICY_FORMAT_2 = "dragoman.gate-policy/2"
POLICY_PAYLOAD_TYPE = "application/vnd.dragoman.gate-policy.v1+json"


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyRecord:
    """One change of a model's policy; the newest is the policy.

    Attributes:
        rules: At most one an alias; an alias without one keeps the default.
        previous_sha256: SHA-256 in hex of the previous record's payload; empty for the first.
        accepted_loss: Set where an operator accepted that the store has lost the records from this place to that one.
    """

    tenant: str
    model: str
    sequence: int
    rules: tuple[GateRule, ...]
    reason: str
    set_by: str
    set_time: datetime
    request_id: str
    nonce: str
    previous_sha256: str = ""
    accepted_loss: LostEvent | None = None

    def rule_for(self, alias: str) -> GateRule | None:
        """Return the alias's rule, None when the policy has none for it."""
        return next((rule for rule in self.rules if rule.alias == alias), None)

    def to_payload(self) -> bytes:
        """Write the canonical JSON."""
        content = asdict(self)
        if self.accepted_loss is None:
            del content["accepted_loss"]
        name = POLICY_FORMAT if self.accepted_loss is None else POLICY_FORMAT_2
        return canonical_json({**content, "format": name, "set_time": time_text(self.set_time)})


def sign_policy(record: PolicyRecord, key: SigningKey) -> bytes:
    """Return the envelope of the record."""
    return sign_envelope(POLICY_PAYLOAD_TYPE, record.to_payload(), key)


def policy_sha256(record: PolicyRecord) -> str:
    """Return the digest by which the next record names this one."""
    return hashlib.sha256(record.to_payload()).hexdigest()


def verify_policy(
    envelope: bytes, keys: VerifyingKeys, *, tenant: str, model: str, previous: PolicyRecord | None
) -> PolicyRecord:
    """Return the policy record that is expected after previous, or as the first.

    Raises:
        DataLossError: no trusted signature, no policy, another model's, or a broken chain.
    """
    sequence = previous.sequence + 1 if previous else 1
    what = f"{tenant}/{model}/policies/{sequence}"
    record = verify_record(
        envelope,
        POLICY_PAYLOAD_TYPE,
        keys,
        parse_policy,
        what=what,
        holds="the signed policy",
        place=lambda record: f"{record.tenant}/{record.model}/policies/{record.sequence}",
    )
    if record.previous_sha256 != (policy_sha256(previous) if previous else ""):
        raise DataLossError(f"{what}: names another predecessor than the one before it")
    return record


def parse_policy(payload: bytes, *, what: str) -> PolicyRecord:
    """Read a payload.

    Raises:
        InvalidArgumentError: not the one byte form of a policy, or rules that check_rules refuses.
    """
    content = payload_object(payload, what=what)
    is_second = content.get("format") == POLICY_FORMAT_2
    keys = [key for key in PolicyRecord.__dataclass_fields__ if is_second or key != "accepted_loss"]
    top = Fields(content, what=what, required=(*keys, "format"))
    top.text("format", choices=(POLICY_FORMAT, POLICY_FORMAT_2))
    record = PolicyRecord(
        tenant=top.text("tenant"),
        model=top.text("model"),
        sequence=top.integer("sequence", low=1, high=MAX_INTEGER),
        rules=check_rules(
            tuple(parse_rule(value, what=f"{what}: rules") for value in top.items("rules", max_items=MAX_RULES))
        ),
        reason=text_value(top.raw("reason"), f"{what}: reason"),
        set_by=top.text("set_by", max_chars=1024),
        set_time=time_field(top, "set_time"),
        request_id=top.text("request_id"),
        nonce=top.text("nonce"),
        previous_sha256=sha256_field(top, "previous_sha256", may_be_empty=True),
        accepted_loss=parse_lost_event(top.raw("accepted_loss"), what=what) if is_second else None,
    )
    if record.accepted_loss and record.accepted_loss.sequence < record.sequence:
        raise InvalidArgumentError(f"{what}: accepts the loss of a record that came before it")
    return canonical(record, payload, what)
