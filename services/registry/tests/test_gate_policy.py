# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Gate policies: every rule refused and passed by raw calls, and no way around them for a client."""

import asyncio
import dataclasses

import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_models.policy_record import sign_policy, verify_policy
from dragoman_models.verify import VerifyingKeys

POLICY = "tenants/acme/models/r8/policies/"


def rule(**changes) -> pb.GateRule:
    return pb.GateRule(**({"alias": "prod", "quality": pb.QUALITY_RULE_NONE} | changes))


@pytest.fixture
async def people(registry, make):
    """Clients of ada, bo and cy; ada published version 1, the operator moved prod to it, ada published version 2."""
    async with (
        registry.client("operator.ada") as ada,
        registry.client("operator.bo") as bo,
        registry.client("operator.cy") as cy,
    ):
        await ada.publish(make.good(1, num_wrong=12))
        await bo.move(1)
        await ada.publish(make.good(2, num_wrong=12), publish_id="p2")
        yield ada, bo, cy


async def test_better_asks_for_a_significant_gain_on_paired_rows(people, make, refused):
    ada, bo, _ = people
    await bo.rule(rule(quality=pb.QUALITY_RULE_BETTER))
    async with refused("FAILED_PRECONDITION", "not significantly better than version 1"):
        await bo.move(2)
    # Four rows, all in the candidate's favour, are chance with 1 in 16; five with 1 in 32.
    await ada.publish(make.good(3, num_wrong=8), publish_id="p3")
    async with refused("FAILED_PRECONDITION", "not significantly better"):
        await bo.move(3)
    await ada.publish(make.good(4, num_wrong=7), publish_id="p4")
    assert "only in candidate 5" in (await bo.move(4)).gate_summary


async def test_not_worse_lets_an_equal_version_pass_and_a_worse_one_not(people, make, refused):
    ada, bo, _ = people
    await bo.rule(rule(quality=pb.QUALITY_RULE_NOT_WORSE))
    await ada.publish(make.good(3, num_wrong=60), publish_id="p3")
    async with refused("FAILED_PRECONDITION", "significantly worse"):
        await bo.move(3)
    assert (await bo.move(2)).gate_summary.startswith("policy 1: r8: accuracy 0.9700")


async def test_evaluated_asks_for_an_evaluation_and_evidence_will_do(people, make, refused):
    ada, bo, _ = people
    await bo.rule(rule(quality=pb.QUALITY_RULE_EVALUATED))
    await ada.publish(make.files(b"3"), publish_id="p3")
    async with refused("FAILED_PRECONDITION", "no evaluation"):
        await bo.move(3)
    await bo.say(3, "evaluation", make.evaluation(make.bits(400, 300)))
    assert "accuracy 0.2500" in (await bo.move(3)).gate_summary


async def test_a_new_test_set_is_compared_once_both_versions_were_evaluated_on_it(people, make, refused):
    ada, bo, _ = people
    await ada.publish(make.files(b"3", evaluated=make.evaluation(make.bits(400, 5), digest="b" * 64)), publish_id="p3")
    async with refused("FAILED_PRECONDITION", "different test rows"):
        await bo.move(3)
    await bo.say(1, "evaluation", make.evaluation(make.bits(400, 4), digest="b" * 64))
    assert "right only in production 1" in (await bo.move(3)).gate_summary


async def test_evaluations_that_are_added_never_help_a_candidate_past_its_worst(people, make, refused):
    ada, bo, _ = people
    await ada.publish(make.good(3, num_wrong=60), publish_id="p3")
    await bo.say(3, "evaluation", make.evaluation(make.bits(400, 0)))
    await bo.say(1, "evaluation", make.evaluation(make.bits(400, 100)))
    async with refused("FAILED_PRECONDITION", "significantly worse"):
        await bo.move(3)


async def test_the_size_of_all_files_is_held_to_the_byte(people, refused):
    _, bo, _ = people
    size_bytes = sum(file.size_bytes for file in (await bo.get(2)).files)
    await bo.rule(rule(max_size_bytes=size_bytes - 1))
    async with refused("FAILED_PRECONDITION", f"size {size_bytes} of at most {size_bytes - 1}"):
        await bo.move(2)
    await bo.rule(rule(max_size_bytes=size_bytes))
    assert f"size {size_bytes}" in (await bo.move(2)).gate_summary


async def test_robustness_is_asked_of_the_worst_suite(people, make, refused):
    _, bo, _ = people
    await bo.rule(rule(min_robustness_basis_points=9000))
    async with refused("FAILED_PRECONDITION", "no evidence of robustness"):
        await bo.move(2)
    await bo.say(2, "robustness", make.document("robustness"))
    assert "robustness 0.9000 on typos" in (await bo.move(2)).gate_summary
    await bo.move(1)
    worse = {"name": "case", "digest": "b" * 64, "num_rows": 1000, "num_correct": 899, "num_correct_clean": 970}
    await bo.say(2, "robustness", make.document("robustness", suites=[worse]))
    # prod has pointed to version 2; another alias has not.
    await bo.rule(rule(alias="other", min_robustness_basis_points=9000))
    async with refused("FAILED_PRECONDITION", "robustness 0.8990 on case"):
        await bo.move(2, alias="other")


async def test_latency_is_asked_of_the_slowest_measurement(people, make, refused):
    _, bo, _ = people
    await bo.rule(rule(max_p99_us=4000))
    async with refused("FAILED_PRECONDITION", "no measured latency"):
        await bo.move(2)
    await bo.say(2, "measurement", make.document("measurement", p99_us=4001))
    async with refused("FAILED_PRECONDITION", "p99 4001 us on 2 cores, at most 4000 us"):
        await bo.move(2)
    await bo.rule(rule(max_p99_us=4001))
    assert "p99 4001 us" in (await bo.move(2)).gate_summary


async def test_compatibility_can_be_waived_by_rule_only(people, make, refused):
    ada, bo, _ = people
    await ada.publish(make.files(b"3", labels=("earn", "acq", "grain")), publish_id="p3")
    await bo.rule(rule())
    async with refused("FAILED_PRECONDITION", "another order"):
        await bo.move(3)
    await bo.rule(rule(may_be_incompatible=True))
    assert (await bo.move(3)).sequence == 2


async def test_approvals_count_once_a_person_and_not_the_publishers_or_the_movers(people, make, refused):
    ada, bo, cy = people
    await cy.rule(rule(num_approvals=2))
    for comment in ("a", "b"):
        await bo.say(2, "approval", make.document("approval", comment=comment))
    async with refused("FAILED_PRECONDITION", "approved by 'operator:bo'; 2 asked for"):
        await ada.move(2)
    await cy.say(2, "approval", make.document("approval", alias="canary"))
    async with refused("FAILED_PRECONDITION", "approved by 'operator:bo'; 2 asked for"):
        await ada.move(2)
    await cy.say(2, "approval", make.document("approval", alias="prod"))
    # The mover's own approval does not count.
    async with refused("FAILED_PRECONDITION", "approved by 'operator:cy'; 2 asked for"):
        await bo.move(2)
    assert "approved by 'operator:bo', 'operator:cy'" in (await ada.move(2)).gate_summary


async def test_who_lowers_the_number_of_approvals_is_not_freed_from_them(people, refused):
    _, bo, cy = people
    await cy.rule(rule(num_approvals=1))
    for change in (rule(), rule(alias="other")):
        await bo.rule(change)
        async with refused("FAILED_PRECONDITION", "lacks approvals"):
            await bo.move(2)
    await cy.rule(rule())
    assert (await bo.move(2)).sequence == 2


async def test_a_way_back_passes_whatever_the_policy_asks_since(people):
    _, bo, cy = people
    await bo.move(2)
    await cy.rule(rule(num_approvals=3, max_size_bytes=1, quality=pb.QUALITY_RULE_BETTER))
    assert "returns to version 1" in (await bo.move(1)).gate_summary


async def test_an_alias_without_a_rule_keeps_the_default(people, make, refused):
    ada, bo, _ = people
    await bo.rule(rule(alias="other"))
    await ada.publish(make.files(b"3"), publish_id="p3")
    assert (await bo.move(3, alias="other")).gate_summary == "policy 1: nothing asked"
    async with refused("FAILED_PRECONDITION", "no evaluation"):
        await bo.move(3)


async def test_a_policy_is_signed_and_chained_and_set_once_a_request(people, registry, refused):
    _, bo, cy = people
    async with refused("NOT_FOUND", "defaults"):
        await bo.stub.GetGatePolicy(pb.GetGatePolicyRequest(model="r8"))
    first = await bo.rule(rule(num_approvals=1), request_id="q1", reason="four eyes", expected_sequence=0)
    assert await bo.rule(rule(num_approvals=1), request_id="q1") == first
    async with refused("INVALID_ARGUMENT", "q1"):
        await bo.rule(rule(), request_id="q1")
    async with refused("ABORTED"):
        await cy.rule(rule(), expected_sequence=0)
    second = await cy.rule(rule(), expected_sequence=1)
    assert (await bo.stub.GetGatePolicy(pb.GetGatePolicyRequest(model="r8"))).policy == second
    keys, previous = VerifyingKeys([registry.key.public_key]), None
    for policy in (first, second):
        previous = verify_policy(policy.record.envelope, keys, tenant="acme", model="r8", previous=previous)
    assert (first.set_by, first.reason, second.previous_sha256 != "") == ("operator:bo", "four eyes", True)


async def test_of_16_racing_changes_from_one_state_one_wins(people):
    _, bo, _ = people
    outcomes = await asyncio.gather(
        *(bo.rule(rule(max_size_bytes=n + 1), expected_sequence=0) for n in range(16)), return_exceptions=True
    )
    assert sum(isinstance(outcome, pb.GatePolicy) for outcome in outcomes) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"alias": "../x"},
        {"quality": pb.QUALITY_RULE_UNSPECIFIED},
        {"quality": 99},
        {"min_robustness_basis_points": 10_001},
        {"max_size_bytes": -1},
        {"max_p99_us": -1},
        {"num_approvals": 11},
    ],
)
async def test_a_rule_that_cannot_be_held_is_refused(people, refused, changes):
    _, bo, _ = people
    async with refused("INVALID_ARGUMENT", "rules"):
        await bo.rule(rule(**changes))


async def test_two_rules_for_an_alias_and_other_bad_changes_are_refused(people, refused):
    _, bo, _ = people
    for call in (
        bo.rule(rule(), rule()),
        bo.rule(rule(), reason="a\nb"),
        bo.rule(rule(), expected_sequence=-1),
        bo.rule(rule(), request_id="A"),
        bo.rule(rule(), model=".."),
    ):
        async with refused("INVALID_ARGUMENT"):
            await call
    async with refused("NOT_FOUND"):
        await bo.rule(rule(), model="none")


@pytest.mark.parametrize("identity", ["worker", "gateway", "monitor", "launcher"])
async def test_only_operators_set_policies_and_move_aliases(registry, people, refused, identity):
    async with registry.client(identity) as client:
        async with refused("PERMISSION_DENIED"):
            await client.rule(rule())
        async with refused("PERMISSION_DENIED"):
            await client.move(2)


async def test_another_tenant_sees_and_sets_no_policy(registry, people, refused):
    _, bo, _ = people
    await bo.rule(rule())
    async with registry.client(tenant="other") as other:
        async with refused("NOT_FOUND"):
            await other.stub.GetGatePolicy(pb.GetGatePolicyRequest(model="r8"))
        async with refused("NOT_FOUND"):
            await other.rule(rule())


async def test_a_forged_replayed_or_removed_policy_is_data_loss_and_nothing_moves(registry, people, refused):
    _, bo, cy = people
    await bo.rule(rule(num_approvals=1))
    await cy.rule(rule(num_approvals=2))
    objects = registry.store.objects
    first, second = objects[f"{POLICY}1"], objects[f"{POLICY}2"]
    keys = VerifyingKeys([registry.key.public_key])
    record = verify_policy(
        second,
        keys,
        tenant="acme",
        model="r8",
        previous=verify_policy(first, keys, tenant="acme", model="r8", previous=None),
    )
    for planted in (
        {f"{POLICY}3": first},
        {f"{POLICY}2": sign_policy(dataclasses.replace(record, model="other"), registry.key)},
        {f"{POLICY}2": sign_policy(dataclasses.replace(record, previous_sha256="0" * 64), registry.key)},
        {f"{POLICY}1": second},
        {f"{POLICY}2": second[:300] + b"A" + second[301:]},
        {f"{POLICY}2": None},
        {f"{POLICY}1": None, f"{POLICY}2": None},
    ):
        for key, data in planted.items():
            objects.pop(key, None)
            if data is not None:
                objects[key] = data
        async with refused("DATA_LOSS", "policies"):
            await bo.move(2)
        objects.pop(f"{POLICY}3", None)
        objects.update({f"{POLICY}1": first, f"{POLICY}2": second})
    async with refused("FAILED_PRECONDITION", "approvals"):
        await bo.move(2)
