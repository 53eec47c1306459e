# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""An event says why its move was allowed, in what is signed; and what was retracted counts no more."""

import base64
import json
from hashlib import sha256

import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.auth import calling_as
from dragoman_models.verify import VerifyingKeys, verify_alias_event


def rule(**changes) -> pb.GateRule:
    return pb.GateRule(**({"alias": "prod", "quality": pb.QUALITY_RULE_NONE} | changes))


@pytest.fixture
async def people(registry, make):
    """Clients of ada, bo and cy; ada published versions 1 and 2, bo moved prod to 1."""
    async with (
        registry.client("operator.ada") as ada,
        registry.client("operator.bo") as bo,
        registry.client("operator.cy") as cy,
    ):
        await ada.publish(make.good(1))
        await bo.move(1)
        await ada.publish(make.good(2), publish_id="p2")
        yield ada, bo, cy


async def said(client, version: int, kind: str, document) -> str:
    return (await client.say(version, kind, document)).evidence.digest


def retraction(digest: str, reason: str = "wrong file") -> str:
    return json.dumps({"format": "dragoman.retraction/1", "digest": digest, "reason": reason})


def signed(registry, event: pb.AliasEvent):
    keys = VerifyingKeys([registry.key.public_key])
    return verify_alias_event(event.record.envelope, keys, tenant="acme", model="r8", alias=event.alias)


async def test_an_event_names_the_policy_the_rule_and_all_evidence_that_was_judged(people, registry, make):
    _, bo, cy = people
    policy = await cy.rule(rule(quality=pb.QUALITY_RULE_NOT_WORSE, max_p99_us=9000, num_approvals=1))
    of_production = await said(bo, 1, "evaluation", make.evaluation(make.bits(400, 11)))
    of_candidate = [
        await said(bo, 2, "evaluation", make.evaluation(make.bits(400, 9))),
        await said(bo, 2, "measurement", make.document("measurement")),
        await said(cy, 2, "approval", make.document("approval")),
    ]
    # Not asked for.
    await said(bo, 2, "robustness", make.document("robustness"))
    await said(bo, 1, "measurement", make.document("measurement"))
    event = await bo.move(2)
    basis = signed(registry, event).gate
    assert [(item.version, item.digest) for item in basis.evidence] == [
        (1, of_production),
        *sorted((2, digest) for digest in of_candidate),
    ]
    envelope = json.loads(policy.record.envelope)
    assert (basis.policy_sequence, basis.rule.num_approvals, basis.returned_sequence) == (1, 1, 0)
    assert basis.policy_sha256 == sha256(_payload(envelope)).hexdigest()
    assert [(item.version, item.digest) for item in event.gate_basis.evidence] == [
        (item.version, item.digest) for item in basis.evidence
    ]
    assert event.gate_basis.rule == policy.rules[0]
    assert event.gate_basis.policy_sha256 == basis.policy_sha256


def _payload(envelope: dict) -> bytes:
    return base64.b64decode(envelope["payload"])


async def test_without_a_policy_the_event_names_the_default_rule(people, registry):
    _, bo, _ = people
    event = await bo.move(2)
    basis = signed(registry, event).gate
    assert (basis.policy_sequence, basis.policy_sha256, basis.evidence) == (0, "", ())
    assert (basis.rule.alias, basis.rule.quality) == ("prod", "not_worse")


async def test_a_way_back_names_the_event_that_it_returns_to(people, registry):
    _, bo, _ = people
    await bo.move(2)
    basis = signed(registry, await bo.move(1)).gate
    assert (basis.returned_sequence, basis.evidence) == (1, ())


async def test_the_policy_of_an_event_can_be_asked_for_by_its_sequence(people, refused):
    _, bo, cy = people
    first = await cy.rule(rule(max_size_bytes=10**6))
    await cy.rule(rule())
    ask = bo.stub.GetGatePolicy
    assert (await ask(pb.GetGatePolicyRequest(model="r8", sequence=1))).policy == first
    assert (await ask(pb.GetGatePolicyRequest(model="r8"))).policy.sequence == 2
    async with refused("NOT_FOUND"):
        await ask(pb.GetGatePolicyRequest(model="r8", sequence=3))
    async with refused("INVALID_ARGUMENT"):
        await ask(pb.GetGatePolicyRequest(model="r8", sequence=-1))


@pytest.mark.parametrize("by", ["the same", "another operator"])
async def test_a_retracted_approval_counts_no_more(people, make, refused, by):
    ada, bo, cy = people
    await cy.rule(rule(num_approvals=1))
    digest = await said(cy, 2, "approval", make.document("approval"))
    await said(cy if by == "the same" else ada, 2, "retraction", retraction(digest))
    async with refused("FAILED_PRECONDITION", "approved by none"):
        await bo.move(2)
    # The same words are what was retracted; it takes others.
    async with refused("FAILED_PRECONDITION", "retracted by operator:"):
        await said(cy, 2, "approval", make.document("approval"))
    again = await said(cy, 2, "approval", make.document("approval", comment="looked again"))
    event = await bo.move(2)
    assert "approved by 'operator:cy'" in event.gate_summary
    assert {item.digest for item in event.gate_basis.evidence} > {digest, again}


async def test_a_retracted_evaluation_counts_no_more_where_nobody_elses_eyes_are_asked(people, make, refused):
    _, bo, _ = people
    digest = await said(bo, 2, "evaluation", make.evaluation(make.bits(400, 200)))
    async with refused("FAILED_PRECONDITION", "significantly worse"):
        await bo.move(2)
    await said(bo, 2, "retraction", retraction(digest))
    assert (await bo.move(2)).stable_version == 2


async def test_with_four_eyes_neither_publisher_nor_mover_retracts_a_bad_measurement(people, make, refused):
    ada, bo, cy = people
    await cy.rule(rule(num_approvals=1, max_p99_us=4000))
    await said(cy, 2, "approval", make.document("approval"))
    await said(cy, 2, "measurement", make.document("measurement", p99_us=3000))
    slow = await said(cy, 2, "measurement", make.document("measurement", p99_us=5000))
    for interested in (ada, bo):
        await said(interested, 2, "retraction", retraction(slow))
        async with refused("FAILED_PRECONDITION", "p99 5000"):
            await bo.move(2)
    await said(cy, 2, "retraction", retraction(slow))
    assert "p99 3000" in (await bo.move(2)).gate_summary


async def test_only_the_same_or_an_operator_retracts_and_only_what_is_there(people, registry, make, refused):
    ada, bo, _ = people
    digest = await said(bo, 2, "approval", make.document("approval"))
    with calling_as("acme"):
        async with registry.client("monitor") as monitor, refused("PERMISSION_DENIED", "said this"):
            await monitor.say(2, "retraction", retraction(digest))
        async with registry.client("monitor") as monitor:
            own = await said(monitor, 2, "rollout-verdict", make.document("rollout-verdict"))
            await said(monitor, 2, "retraction", retraction(own))
    for client in (ada, bo):
        async with refused("NOT_FOUND"):
            await client.say(2, "retraction", retraction("0" * 64))
        async with refused("NOT_FOUND"):
            await client.say(1, "retraction", retraction(digest))
    taken = await said(ada, 2, "retraction", retraction(digest))
    async with refused("INVALID_ARGUMENT", "not retracted"):
        await ada.say(2, "retraction", retraction(taken))
    for bad in (retraction("x"), retraction(digest, ""), retraction(digest, "a\nb"), "{}"):
        async with refused("INVALID_ARGUMENT"):
            await ada.say(2, "retraction", bad)
    with calling_as("acme"):
        async with registry.client("worker") as worker, refused("PERMISSION_DENIED"):
            await worker.say(2, "retraction", retraction(digest))


async def test_a_job_retracts_what_it_said_and_not_what_others_said(people, registry, make, refused):
    _, bo, _ = people
    async with registry.job("job-1") as job:
        await job.publish(make.good(3), publish_id="p3")
        own = await said(job, 3, "measurement", make.document("measurement"))
        others = await said(bo, 3, "measurement", make.document("measurement", p99_us=4100))
        await said(job, 3, "retraction", retraction(own))
        async with refused("PERMISSION_DENIED", "operator:bo said this"):
            await job.say(3, "retraction", retraction(others))
