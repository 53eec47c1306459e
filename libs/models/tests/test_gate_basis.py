# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Alias events of both formats have one byte form each, and say why they were allowed in no other way."""

import dataclasses
import json
from datetime import UTC, datetime

import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.gate_basis import GateBasis, JudgedEvidence, LostEvent
from dragoman_models.gate_rule import GateRule
from dragoman_models.record import AliasRecord, parse_alias_record
from dragoman_models.verify import accepts_loss_of, payload_sha256

BASIS = GateBasis(
    policy_sequence=2,
    policy_sha256="2" * 64,
    rule=GateRule(alias="prod", num_approvals=1),
    evidence=(JudgedEvidence(version=1, digest="a" * 64), JudgedEvidence(version=2, digest="0" * 64)),
)
OLD = AliasRecord(
    tenant="acme",
    model="r8",
    alias="prod",
    sequence=1,
    stable_version=1,
    stable_root_sha256="0" * 64,
    moved_by="operator:ada",
    move_time=datetime(2026, 5, 1, tzinfo=UTC),
    request_id="q",
    nonce="n",
)
NEW = dataclasses.replace(OLD, gate=BASIS, accepted_loss=LostEvent(sequence=3, sha256="3" * 64))


def changed(record: AliasRecord, **changes: object) -> bytes:
    content = json.loads(record.to_payload())
    content.update(changes)
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def test_an_event_of_the_first_format_is_read_and_written_as_ever() -> None:
    payload = OLD.to_payload()
    assert json.loads(payload)["format"] == "dragoman.alias-event/1"
    assert not {"gate", "accepted_loss"} & set(json.loads(payload))
    assert payload_sha256(OLD) == "934efd06de3016ef0e7f067d2d129eff29dbe5d9c3afbbb3d1f92dc3ff58c9c3"
    assert parse_alias_record(payload, what="x") == OLD


@pytest.mark.parametrize(
    "record", [NEW, dataclasses.replace(NEW, gate=None), dataclasses.replace(NEW, accepted_loss=None)]
)
def test_an_event_of_the_second_format_comes_back_whole(record: AliasRecord) -> None:
    assert json.loads(record.to_payload())["format"] == "dragoman.alias-event/2"
    assert parse_alias_record(record.to_payload(), what="x") == record


GATE = json.loads(NEW.to_payload())["gate"]


@pytest.mark.parametrize(
    "payload",
    [
        changed(NEW, format="dragoman.alias-event/1"),
        changed(NEW, format="dragoman.alias-event/3"),
        changed(OLD, format="dragoman.alias-event/2"),
        changed(OLD, gate=None, accepted_loss=None),
        changed(NEW, gate=None, accepted_loss=None),
        changed(NEW, gate={**GATE, "more": 1}),
        changed(NEW, gate={**GATE, "policy_sha256": ""}),
        changed(NEW, gate={**GATE, "policy_sequence": 0}),
        changed(NEW, gate={**GATE, "rule": {**GATE["rule"], "quality": "any"}}),
        changed(NEW, gate={**GATE, "rule": {}}),
        changed(NEW, gate={**GATE, "evidence": GATE["evidence"][::-1]}),
        changed(NEW, gate={**GATE, "evidence": GATE["evidence"][:1] * 2}),
        changed(NEW, gate={**GATE, "evidence": [{"version": 1, "digest": "x"}]}),
        changed(NEW, accepted_loss={"sequence": 0, "sha256": "3" * 64}),
        changed(NEW, accepted_loss={"sequence": 3}),
    ],
)
def test_any_other_form_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidArgumentError):
        parse_alias_record(payload, what="x")


def test_a_loss_lies_at_or_behind_the_event_that_accepts_it() -> None:
    late = dataclasses.replace(NEW, sequence=4, previous_sha256="1" * 64)
    with pytest.raises(InvalidArgumentError, match="before it"):
        parse_alias_record(late.to_payload(), what="x")


def test_an_event_accepts_the_loss_of_exactly_the_one_it_names() -> None:
    lost = dataclasses.replace(OLD, sequence=3, previous_sha256="1" * 64)
    accepting = dataclasses.replace(OLD, accepted_loss=LostEvent(sequence=3, sha256=payload_sha256(lost)))
    assert accepts_loss_of(accepting, lost)
    assert not accepts_loss_of(accepting, dataclasses.replace(lost, reason="other"))
    assert not accepts_loss_of(accepting, dataclasses.replace(lost, sequence=4))
    assert not accepts_loss_of(OLD, lost)
