# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Lost events are put back from copies, or their loss is accepted by an event that says so; nothing else moves them."""

import pytest

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_models.policy_record import verify_policy
from dragoman_models.verify import VerifyingKeys, accepts_loss_of, verify_alias_event

MODEL = "tenants/acme/models/r8"
PROD = f"{MODEL}/aliases/prod"
HEAD = f"{MODEL}/heads/aliases/prod"


@pytest.fixture
async def before(registry, client, make):
    """All objects with prod at event 5 and the policy at event 3."""
    for seed in range(2):
        await client.publish(make.good(seed), publish_id=f"p{seed}")
    for version in (1, 2, 1, 2, 1):
        await client.move(version)
    for size in (10**6, 10**7, 10**8):
        await client.rule(pb.GateRule(alias="other", quality=pb.QUALITY_RULE_NONE, max_size_bytes=size))
    return dict(registry.store.objects)


async def repair(client, *envelopes: bytes, alias: str = "prod", reason: str = "disk lost it", model: str = "r8"):
    events = [signed_pb2.SignedRecord(envelope=envelope) for envelope in envelopes]
    request = pb.RepairChainRequest(model=model, alias=alias, reason=reason, events=events)
    return await client.stub.RepairChain(request, timeout=20)


def record(registry, envelope: bytes):
    keys = VerifyingKeys([registry.key.public_key])
    return verify_alias_event(envelope, keys, tenant="acme", model="r8", alias="prod")


def lose(registry, *keys: str) -> None:
    for key in keys:
        del registry.store.objects[key]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("first", [1, 4, 5])
async def test_lost_events_are_put_back_from_copies(registry, start, before, refused, restarted, first):
    lose(registry, *(f"{PROD}/{n}" for n in range(first, 6)))
    async with start(registry.store) as again:
        at = again if restarted else registry
        async with at.client() as client:
            async with refused("DATA_LOSS"):
                await client.move(2)
            # Copies of what is still there do no harm.
            reply = await repair(client, *(before[f"{PROD}/{n}"] for n in range(1 if restarted else first, 6)))
            assert (reply.event.sequence, reply.event.record.envelope) == (5, before[f"{PROD}/5"])
            assert {key: at.store.objects[key] for key in before if key.startswith(PROD)} == {
                key: data for key, data in before.items() if key.startswith(PROD)
            }
            assert (await client.move(2)).sequence == 6


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_accepted_loss_is_an_event_that_says_so_and_the_alias_goes_on(
    registry, start, before, refused, restarted, caplog
):
    lose(registry, f"{PROD}/4", f"{PROD}/5")
    async with start(registry.store) as again:
        at = again if restarted else registry
        async with at.client("operator.ada") as client:
            event = (await repair(client, reason="no copy is left")).event
            assert (event.sequence, event.stable_version, event.reason) == (4, 1, "no copy is left")
            assert (event.moved_by, event.accepted_loss.sequence) == ("operator:ada", 5)
            assert event.previous_sha256 == record(at, before[f"{PROD}/4"]).previous_sha256
            # A follower that has seen the lost event recognises the decision.
            assert accepts_loss_of(record(at, event.record.envelope), record(at, before[f"{PROD}/5"]))
            assert "a chain was repaired" in caplog.text
            assert [(await client.move(version)).sequence for version in (2, 1)] == [5, 6]
        # Also registries that had seen what is lost, and those that start now.
        async with registry.client() as client:
            assert (await client.alias()).sequence == 6
    async with start(registry.store) as later, later.client() as client:
        assert (await client.alias()).sequence == 6
        # The old head, put back over the new one, is known for an old one.
        for key in (HEAD,):
            later.store.objects[key] = before[key]
        assert (await client.move(2)).sequence == 7
        assert later.store.objects[HEAD] != before[HEAD]


async def test_followers_of_a_registry_get_the_event_that_accepts_a_loss(registry, client, before):
    call = client.stub.WatchAliases(pb.WatchAliasesRequest())
    async for message in call:
        if message.is_snapshot_complete:
            break
    lose(registry, f"{PROD}/5")
    await repair(client)
    async for message in call:
        if message.HasField("event"):
            assert message.event.accepted_loss.sequence == 5
            break
    call.cancel()


async def test_after_a_loss_was_accepted_a_further_loss_is_found(registry, start, client, before, refused):
    lose(registry, f"{PROD}/4", f"{PROD}/5")
    await repair(client)
    await client.move(2)
    lose(registry, f"{PROD}/5")
    async with start(registry.store) as again, again.client() as client:
        async with refused("DATA_LOSS", "event 5 is gone"):
            await client.alias()
        lose(registry, f"{PROD}/4")
        async with refused("DATA_LOSS", "event 4 to 5 is gone"):
            await client.alias()


async def test_where_nothing_is_lost_there_is_nothing_to_repair(client, before, refused):
    for alias in ("prod", "canary", ""):
        async with refused("FAILED_PRECONDITION", "is whole"):
            await repair(client, alias=alias)
        async with refused("FAILED_PRECONDITION", "is whole"):
            await repair(client, before[f"{PROD}/1"], alias=alias)
    assert (await client.alias()).sequence == 5


async def test_copies_of_other_events_are_refused_and_nothing_is_written(registry, client, before, refused):
    events = [before[f"{PROD}/{n}"] for n in range(1, 6)]
    lose(registry, f"{PROD}/4", f"{PROD}/5")
    objects = dict(registry.store.objects)
    flipped = events[3][:300] + bytes([events[3][300] ^ 1]) + events[3][301:]
    for wrong in ([events[3]], [events[4]], events[:3], [flipped, events[4]], [b"{}"], [before[f"{MODEL}/policies/1"]]):
        async with refused("INVALID_ARGUMENT", "events"):
            await repair(client, *wrong)
    for bad in ({"reason": ""}, {"reason": "a\nb"}, {"alias": ".."}, {"model": ".."}):
        async with refused("INVALID_ARGUMENT"):
            await repair(client, **bad)
    assert registry.store.objects == objects


async def test_a_loss_of_everything_can_only_be_put_back(registry, start, before, refused):
    lose(registry, *(f"{PROD}/{n}" for n in range(1, 6)))
    async with start(registry.store) as again, again.client() as client:
        async with refused("FAILED_PRECONDITION", "no event is left"):
            await repair(client)


async def test_a_lost_policy_is_put_back_or_its_loss_accepted(registry, start, before, refused):
    keys = [f"{MODEL}/policies/{n}" for n in (2, 3)]
    lose(registry, *keys)
    async with start(registry.store) as again, again.client() as client:
        async with refused("INVALID_ARGUMENT", "events"):
            await repair(client, before[keys[1]], alias="")
        reply = await repair(client, *(before[key] for key in keys), alias="")
        assert reply.policy.record.envelope == before[keys[1]]
        lose(registry, *keys)
        async with refused("DATA_LOSS"):
            await client.move(2)
        policy = (await repair(client, alias="", reason="gone")).policy
        assert (policy.sequence, policy.reason, policy.accepted_loss.sequence) == (2, "gone", 3)
        assert [rule.max_size_bytes for rule in policy.rules] == [10**6]
        verifying = VerifyingKeys([again.key.public_key])
        first = verify_policy(before[f"{MODEL}/policies/1"], verifying, tenant="acme", model="r8", previous=None)
        verify_policy(policy.record.envelope, verifying, tenant="acme", model="r8", previous=first)
        assert (await client.rule()).sequence == 3
        assert (await client.move(2)).sequence == 6


@pytest.mark.parametrize("identity", ["worker", "gateway", "monitor", "launcher", "trainer"])
async def test_only_operators_repair(registry, before, refused, identity):
    async with registry.client(identity) as client, refused("PERMISSION_DENIED"):
        await repair(client)


async def test_another_tenants_chains_are_not_there(registry, before, refused):
    lose(registry, f"{PROD}/5")
    async with (
        registry.client(tenant="other") as other,
        refused("FAILED_PRECONDITION", "other/r8/aliases/prod is whole"),
    ):
        await repair(other)
