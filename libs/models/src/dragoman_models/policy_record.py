# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A model's gate policy as it is signed: what a move of each alias must satisfy, one chained record a change.

Owns the record, its strict parsing and its verification. What the rules mean is the registry's gate_rules.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.fields import Fields, JsonValue
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
from dragoman_models.verify import VerifyingKeys, verify_envelope

POLICY_FORMAT = "dragoman.gate-policy/1"
POLICY_PAYLOAD_TYPE = "application/vnd.dragoman.gate-policy.v1+json"

NONE = "none"
EVALUATED = "evaluated"
NOT_WORSE = "not_worse"
BETTER = "better"
QUALITY_RULES = (NONE, EVALUATED, NOT_WORSE, BETTER)

MAX_RULES = 100
MAX_APPROVALS = 10
FULL_SHARE_BASIS_POINTS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class GateRule:
    """What a move of one alias must satisfy. Zeros ask nothing.

    Attributes:
        quality: One of QUALITY_RULES, against the version in production on the same test rows.
        min_robustness_basis_points: Least share of disturbed rows answered rightly, in every suite.
        max_size_bytes: All files together.
        max_p99_us: Highest 99th percentile of latency in any measurement.
        may_be_incompatible: Task, labels, order and limits need not fit the version in production.
        num_approvals: By different people, neither the publisher nor the mover among them.
    """

    alias: str
    quality: str = NOT_WORSE
    min_robustness_basis_points: int = 0
    max_size_bytes: int = 0
    max_p99_us: int = 0
    may_be_incompatible: bool = False
    num_approvals: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyRecord:
    """One change of a model's policy; the newest is the policy.

    Attributes:
        rules: At most one an alias; an alias without one keeps the default.
        previous_sha256: SHA-256 in hex of the previous record's payload; empty for the first.
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

    def rule_for(self, alias: str) -> GateRule | None:
        """Return the alias's rule, None when the policy has none for it."""
        return next((rule for rule in self.rules if rule.alias == alias), None)

    def to_payload(self) -> bytes:
        """Write the canonical JSON."""
        return canonical_json({**asdict(self), "format": POLICY_FORMAT, "set_time": time_text(self.set_time)})


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
    payload = verify_envelope(envelope, POLICY_PAYLOAD_TYPE, keys, what=what)
    try:
        record = parse_policy(payload, what=what)
    except InvalidArgumentError as error:
        raise DataLossError(str(error)) from error
    found = f"{record.tenant}/{record.model}/policies/{record.sequence}"
    if found != what:
        raise DataLossError(f"{what}: holds the signed policy {found}")
    if record.previous_sha256 != (policy_sha256(previous) if previous else ""):
        raise DataLossError(f"{what}: names another predecessor than the one before it")
    return record


def parse_policy(payload: bytes, *, what: str) -> PolicyRecord:
    """Read a payload.

    Raises:
        InvalidArgumentError: not the one byte form of a policy, or rules that check_rules refuses.
    """
    top = Fields(payload_object(payload, what=what), what=what, required=(*PolicyRecord.__dataclass_fields__, "format"))
    top.text("format", choices=(POLICY_FORMAT,))
    record = PolicyRecord(
        tenant=top.text("tenant"),
        model=top.text("model"),
        sequence=top.integer("sequence", low=1, high=MAX_INTEGER),
        rules=check_rules(tuple(_rule(value, what) for value in top.items("rules", max_items=MAX_RULES))),
        reason=text_value(top.raw("reason"), f"{what}: reason"),
        set_by=top.text("set_by", max_chars=1024),
        set_time=time_field(top, "set_time"),
        request_id=top.text("request_id"),
        nonce=top.text("nonce"),
        previous_sha256=sha256_field(top, "previous_sha256", may_be_empty=True),
    )
    return canonical(record, payload, what)


def check_rules(rules: tuple[GateRule, ...]) -> tuple[GateRule, ...]:
    """Return the rules if they can be held.

    Raises:
        InvalidArgumentError: too many, two for one alias, or a figure out of its range.
    """
    if len(rules) > MAX_RULES:
        raise InvalidArgumentError(f"rules: {len(rules)}, the limit is {MAX_RULES}")
    if len({rule.alias for rule in rules}) != len(rules):
        raise InvalidArgumentError("rules: an alias has two rules")
    for rule in rules:
        if rule.quality not in QUALITY_RULES:
            raise InvalidArgumentError(f"rules: quality of {rule.alias} must be one of {', '.join(QUALITY_RULES)}")
        for name, high in (
            ("min_robustness_basis_points", FULL_SHARE_BASIS_POINTS),
            ("max_size_bytes", MAX_INTEGER),
            ("max_p99_us", MAX_INTEGER),
            ("num_approvals", MAX_APPROVALS),
        ):
            if not 0 <= getattr(rule, name) <= high:
                raise InvalidArgumentError(f"rules: {name} of {rule.alias} must be from 0 to {high}")
    return rules


def _rule(value: JsonValue, what: str) -> GateRule:
    fields = Fields(value, what=f"{what}: rules", required=tuple(GateRule.__dataclass_fields__))
    return GateRule(
        alias=fields.text("alias", max_chars=63),
        quality=fields.text("quality"),
        min_robustness_basis_points=fields.integer("min_robustness_basis_points", low=0, high=MAX_INTEGER),
        max_size_bytes=fields.integer("max_size_bytes", low=0, high=MAX_INTEGER),
        max_p99_us=fields.integer("max_p99_us", low=0, high=MAX_INTEGER),
        may_be_incompatible=fields.flag("may_be_incompatible"),
        num_approvals=fields.integer("num_approvals", low=0, high=MAX_INTEGER),
    )
