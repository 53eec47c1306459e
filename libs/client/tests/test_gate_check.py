# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What an event says about its gate is checked against signed policies and signed evidence, and nothing else."""

import dataclasses
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from dragoman_client.gate_check import GateCheck
from dragoman_common.errors import DataLossError, NotFoundError
from dragoman_models.evidence import EvidenceRecord, sign_evidence
from dragoman_models.gate_basis import GateBasis, JudgedEvidence
from dragoman_models.gate_rule import BETTER, GateRule
from dragoman_models.policy_record import PolicyRecord, policy_sha256, sign_policy
from dragoman_models.record import AliasRecord
from dragoman_models.signing import SigningKey
from dragoman_models.verify import VerifyingKeys

KEY = SigningKey.generate()
TIME = datetime(2026, 5, 1, tzinfo=UTC)
RULE = GateRule(alias="prod", num_approvals=1)
FIRST = PolicyRecord(
    tenant="acme",
    model="r8",
    sequence=1,
    rules=(RULE,),
    reason="",
    set_by="operator:cy",
    set_time=TIME,
    request_id="q1",
    nonce="n",
)
SECOND = dataclasses.replace(FIRST, sequence=2, rules=(GateRule(alias="other"),), previous_sha256=policy_sha256(FIRST))
APPROVAL = EvidenceRecord(
    tenant="acme",
    model="r8",
    version=2,
    root_sha256="2" * 64,
    kind="approval",
    document='{"format": "dragoman.approval/1", "alias": "", "comment": "ok"}',
    added_by="operator:bo",
    add_time=TIME,
)
BASIS = GateBasis(
    policy_sequence=1,
    policy_sha256=policy_sha256(FIRST),
    rule=RULE,
    evidence=(JudgedEvidence(version=2, digest=APPROVAL.digest),),
)
MOVE = AliasRecord(
    tenant="acme",
    model="r8",
    alias="prod",
    sequence=1,
    stable_version=2,
    stable_root_sha256="2" * 64,
    moved_by="operator:ada",
    move_time=TIME,
    request_id="q",
    nonce="n",
    gate=BASIS,
)


class Registry:
    """Two policies and one approval, really signed."""

    def __init__(self) -> None:
        self.policies = [sign_policy(record, KEY) for record in (FIRST, SECOND)]
        self.records = {APPROVAL.digest: sign_evidence(APPROVAL, KEY)}

    async def policy(self, _model: str, *, sequence: int) -> Any:
        if sequence > len(self.policies):
            raise NotFoundError("no such policy")
        return SimpleNamespace(record=SimpleNamespace(envelope=self.policies[sequence - 1]))

    async def evidence(self, _model: str, version: int) -> list[Any]:
        return [
            SimpleNamespace(digest=digest, record=SimpleNamespace(envelope=envelope))
            for digest, envelope in self.records.items()
            if version == 2
        ]


async def run(registry: Registry, *moves: AliasRecord) -> str:
    check = GateCheck(registry, VerifyingKeys([KEY.public_key]), tenant="acme", model="r8")  # type: ignore[arg-type]
    return await check.run(moves)


def based(**changes: Any) -> AliasRecord:
    return dataclasses.replace(MOVE, gate=dataclasses.replace(BASIS, **changes))


async def test_moves_whose_policy_and_evidence_are_there_hold() -> None:
    assert await run(Registry(), MOVE, MOVE) == "2 moves, 2 pieces of evidence"


async def test_old_events_do_not_say_and_hold() -> None:
    found = await run(Registry(), dataclasses.replace(MOVE, gate=None), MOVE)
    assert found == "1 moves, 1 pieces of evidence; 1 do not say"


async def test_defaults_and_rules_that_ask_for_more_hold() -> None:
    more = dataclasses.replace(RULE, num_approvals=2)
    other = {"policy_sequence": 2, "policy_sha256": policy_sha256(SECOND)}
    await run(Registry(), based(policy_sequence=0, policy_sha256=""), based(rule=more), based(**other))


@pytest.mark.parametrize(
    ("move", "why"),
    [
        (based(policy_sha256="0" * 64), "another one than was in force"),
        (based(rule=dataclasses.replace(RULE, quality=BETTER)), "another rule"),
        (based(rule=dataclasses.replace(RULE, num_approvals=0)), "more approvals"),
        (based(evidence=(JudgedEvidence(version=2, digest="0" * 64),)), "is not there"),
        (based(evidence=(JudgedEvidence(version=1, digest=APPROVAL.digest),)), "is not there"),
        (dataclasses.replace(MOVE, move_time=TIME - timedelta(seconds=1)), "added after the move"),
    ],
)
async def test_what_an_event_names_and_is_not_so_is_found(move: AliasRecord, why: str) -> None:
    with pytest.raises(DataLossError, match=why):
        await run(Registry(), move)


async def test_what_does_not_verify_is_found() -> None:
    registry = Registry()
    registry.records = {APPROVAL.digest: sign_evidence(APPROVAL, SigningKey.generate())}
    with pytest.raises(DataLossError, match="no signature"):
        await run(registry, MOVE)
    registry = Registry()
    registry.policies = registry.policies[1:]
    with pytest.raises(DataLossError):
        await run(registry, MOVE)
    registry.policies = []
    with pytest.raises(NotFoundError):
        await run(registry, MOVE)
