# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a move of one alias must satisfy: the rule, as policies and alias events write it. The gate holds it."""

from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.fields import Fields, JsonValue
from dragoman_models.record_fields import MAX_INTEGER

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


def parse_rule(value: JsonValue, *, what: str) -> GateRule:
    """Read a rule as a record holds it.

    Raises:
        InvalidArgumentError: a key unknown, missing or mistyped.
    """
    fields = Fields(value, what=what, required=tuple(GateRule.__dataclass_fields__))
    return GateRule(
        alias=fields.text("alias", max_chars=63),
        quality=fields.text("quality"),
        min_robustness_basis_points=fields.integer("min_robustness_basis_points", low=0, high=MAX_INTEGER),
        max_size_bytes=fields.integer("max_size_bytes", low=0, high=MAX_INTEGER),
        max_p99_us=fields.integer("max_p99_us", low=0, high=MAX_INTEGER),
        may_be_incompatible=fields.flag("may_be_incompatible"),
        num_approvals=fields.integer("num_approvals", low=0, high=MAX_INTEGER),
    )
