# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A model's gate policy: a chain of signed records, the newest of which is the policy.

Owns the rules of the chain and which rule a move is held to; no I/O (policy_book).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dragoman_common.errors import AbortedError, InvalidArgumentError, NotFoundError
from dragoman_common.names import check_name
from dragoman_models.gate_rule import EVALUATED, NONE, NOT_WORSE, GateRule, check_rules
from dragoman_models.policy_record import PolicyRecord, policy_sha256
from dragoman_models.record_fields import MAX_REASON_CHARS


class PolicyNotFoundError(NotFoundError):
    """The model has no policy of its own."""


class PolicyChangedFirstError(AbortedError):
    """Another change took the place that this one was meant for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DefaultRules:
    """What aliases are held to when no policy names them.

    Attributes:
        trial_aliases: A version is only tried out there; that it was evaluated at all is enough.
        ungated_aliases: Anything may be pointed to.
    """

    trial_aliases: frozenset[str] = frozenset({"canary"})
    ungated_aliases: frozenset[str] = frozenset()

    def rule_for(self, alias: str) -> GateRule:
        """Return the alias's default rule."""
        if alias in self.ungated_aliases:
            return GateRule(alias=alias, quality=NONE, may_be_incompatible=True)
        if alias in self.trial_aliases:
            return GateRule(alias=alias, quality=EVALUATED, may_be_incompatible=True)
        return GateRule(alias=alias, quality=NOT_WORSE)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyChange:
    """A wish to set a model's policy. An expected_sequence of None takes it as it is found."""

    tenant: str
    model: str
    rules: tuple[GateRule, ...]
    reason: str
    expected_sequence: int | None
    request_id: str
    set_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPolicy:
    """A policy record as the store keeps it, verified."""

    record: PolicyRecord
    envelope: bytes


PolicyChain = Sequence[StoredPolicy]


def check_change(change: PolicyChange) -> PolicyChange:
    """Return the change if its fields are allowed.

    Raises:
        InvalidArgumentError: a name, rule, reason, sequence or request id that is not.
    """
    check_name(change.model, field="model")
    check_name(change.request_id, field="request_id")
    for rule in change.rules:
        check_name(rule.alias, field="rules.alias")
    check_rules(change.rules)
    if change.expected_sequence is not None and change.expected_sequence < 0:
        raise InvalidArgumentError("expected_sequence must not be negative; 0 means that there is no policy yet")
    if len(change.reason) > MAX_REASON_CHARS or not change.reason.isprintable():
        raise InvalidArgumentError(f"reason must be at most {MAX_REASON_CHARS} printable characters")
    return change


def next_policy(chain: PolicyChain, change: PolicyChange, *, now: datetime, nonce: str) -> PolicyRecord:
    """Return the record that the change adds.

    Raises:
        PolicyChangedFirstError: the newest record is not the expected one.
    """
    if change.expected_sequence not in (None, len(chain)):
        raise PolicyChangedFirstError(
            f"the policy of {change.model} is at event {len(chain)}, the change expected {change.expected_sequence}"
        )
    previous = chain[-1].record if chain else None
    return PolicyRecord(
        tenant=change.tenant,
        model=change.model,
        sequence=len(chain) + 1,
        rules=change.rules,
        reason=change.reason,
        set_by=change.set_by,
        set_time=max(now, previous.set_time) if previous else now,
        request_id=change.request_id,
        nonce=nonce,
        previous_sha256=policy_sha256(previous) if previous else "",
    )


def set_before(chain: PolicyChain, change: PolicyChange) -> StoredPolicy | None:
    """Return the record that an earlier try of the same request wrote, if any.

    Raises:
        InvalidArgumentError: the request id belongs to other rules.
    """
    for stored in chain:
        if stored.record.request_id == change.request_id:
            if stored.record.rules != change.rules:
                raise InvalidArgumentError(f"request_id {change.request_id} was used for another policy")
            return stored
    return None


def rule_for_move(chain: PolicyChain, defaults: DefaultRules, *, alias: str, mover: str) -> GateRule:
    """Return what a move must satisfy.

    Nobody frees himself from the eyes of others: of the newest changes, those that the mover made do not lower the
    number of approvals that was asked for before them.
    """
    rule = _rule(chain, defaults, alias)
    others = len(chain)
    while others and chain[others - 1].record.set_by == mover:
        others -= 1
    return replace(rule, num_approvals=max(rule.num_approvals, _rule(chain[:others], defaults, alias).num_approvals))


def _rule(chain: PolicyChain, defaults: DefaultRules, alias: str) -> GateRule:
    found = chain[-1].record.rule_for(alias) if chain else None
    return found or defaults.rule_for(alias)
