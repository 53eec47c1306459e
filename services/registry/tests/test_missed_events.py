# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A follower that comes back gets what it missed, in order, once; and one that saw more than the store is heard."""

import asyncio

import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_models.verify import VerifyingKeys, payload_sha256, verify_alias_event


@pytest.fixture
async def moved(client, make):
    """prod at event 5, canary at event 1."""
    for seed in range(2):
        await client.publish(make.good(seed), publish_id=f"p{seed}")
    for version in (1, 2, 1, 2, 1):
        await client.move(version)
    await client.move(2, alias="canary")
    return client


async def snapshot(client, *seen: tuple[str, int], tenant: str = "acme", **more) -> list[tuple[str, int]]:
    """What comes before the mark."""
    call = client.stub.WatchAliases(
        pb.WatchAliasesRequest(
            seen=[pb.SeenAlias(tenant=tenant, model="r8", alias=alias, sequence=n) for alias, n in seen], **more
        )
    )
    found = []
    async for message in call:
        if message.HasField("event"):
            found.append((message.event.alias, message.event.sequence))
        if message.is_snapshot_complete:
            call.cancel()
            return sorted(found[:], key=lambda item: item[0]) if not seen else found
    return found


async def test_without_anything_seen_the_newest_event_of_each_alias_comes(moved):
    assert await snapshot(moved) == [("canary", 1), ("prod", 5)]


@pytest.mark.parametrize("known", [1, 2, 3, 4, 5])
async def test_every_event_after_the_one_that_was_seen_comes_in_order(moved, known):
    found = await snapshot(moved, ("prod", known), ("canary", 1))
    assert found == [("prod", n) for n in range(known + 1, 6)]


async def test_missed_events_continue_the_chain_that_the_follower_verifies(registry, moved):
    events = (await moved.stub.ListAliasEvents(pb.ListAliasEventsRequest(model="r8", alias="prod"))).events
    keys = VerifyingKeys([registry.key.public_key])
    place = {"tenant": "acme", "model": "r8", "alias": "prod"}
    last = verify_alias_event(events[1].record.envelope, keys, **place)
    seen = [pb.SeenAlias(tenant="acme", model="r8", alias="prod", sequence=2)]
    call = moved.stub.WatchAliases(pb.WatchAliasesRequest(seen=seen))
    async for message in call:
        if message.event.alias == "prod":
            last = verify_alias_event(message.event.record.envelope, keys, previous=last, **place)
        if message.is_snapshot_complete:
            break
    call.cancel()
    assert last.sequence == 5


async def test_an_event_written_while_the_missed_ones_are_sent_comes_once(moved):
    seen = [pb.SeenAlias(tenant="acme", model="r8", alias="prod", sequence=1)]
    call = moved.stub.WatchAliases(pb.WatchAliasesRequest(seen=seen))
    await asyncio.gather(*(moved.move(1 + n % 2, request_id=f"q{n}") for n in range(4)))
    found = []
    async for message in call:
        if message.event.alias == "prod":
            found.append(message.event.sequence)
        if found and found[-1] == 9:
            break
    call.cancel()
    assert found == list(range(2, 10))


async def aheads(client, *seen: tuple[str, int], tenant: str = "acme", sha256: str = "") -> list[tuple[str, int, int]]:
    """What the follower is told that it has seen and the registry does not hold."""
    places = [pb.SeenAlias(tenant=tenant, model="r8", alias=alias, sequence=n, sha256=sha256) for alias, n in seen]
    call = client.stub.WatchAliases(pb.WatchAliasesRequest(seen=places))
    found = []
    async for message in call:
        if message.HasField("ahead"):
            assert message.ahead.tenant == tenant
            assert message.ahead.model == "r8"
            found.append((message.ahead.alias, message.ahead.seen_sequence, message.ahead.held_sequence))
        if message.is_snapshot_complete:
            break
    call.cancel()
    return found


async def test_a_follower_that_saw_more_than_the_store_is_heard_and_told_and_the_others_are_served(moved, caplog):
    assert await snapshot(moved, ("prod", 7), ("gone", 3)) == [("canary", 1)]
    assert {(r.message, r.object, r.reason) for r in caplog.records if r.name == "dragoman_registry.audit"} == {
        ("audit: object lost", "acme/r8/aliases/prod", "a follower has seen event 7, which is gone; the store holds 5"),
        ("audit: object lost", "acme/r8/aliases/gone", "a follower has seen event 3, which is gone; the store holds 0"),
    }
    assert await aheads(moved, ("prod", 7), ("gone", 3), ("canary", 1)) == [("prod", 7, 5), ("gone", 3, 0)]


async def test_a_follower_that_saw_another_event_in_the_newest_ones_place_is_told(registry, moved, caplog):
    record = verify_alias_event(
        registry.store.objects["tenants/acme/models/r8/aliases/prod/5"],
        VerifyingKeys([registry.key.public_key]),
        tenant="acme",
        model="r8",
        alias="prod",
    )
    assert await aheads(moved, ("prod", 5), sha256=payload_sha256(record)) == []
    assert await aheads(moved, ("prod", 5)) == []
    assert "audit: object" not in caplog.text
    assert await aheads(moved, ("prod", 5), sha256="0" * 64) == [("prod", 5, 5)]
    assert "audit: object lost" in caplog.text


async def test_what_another_registry_has_written_since_the_last_scan_is_no_loss(registry, start, moved, caplog):
    async with start(registry.store) as other, other.client() as moving:
        await moving.move(2)
    assert await aheads(moved, ("prod", 6)) == []
    assert "audit: object" not in caplog.text


async def test_of_another_tenants_aliases_nobody_learns_whether_they_are_here(registry, moved, caplog):
    async with registry.client(tenant="other") as other:
        assert await aheads(other, ("prod", 7), ("gone", 3)) == []
    assert "audit: object" not in caplog.text


async def test_a_damaged_chain_holds_up_no_other_alias(registry, moved):
    registry.store.objects["tenants/acme/models/r8/aliases/prod/3"] = b"{}"
    assert await snapshot(moved, ("prod", 2)) == [("canary", 1)]


async def test_another_tenants_events_cannot_be_asked_for(registry, moved):
    async with registry.client(tenant="other") as other:
        assert await snapshot(other, ("prod", 1)) == []
        assert await snapshot(other, ("prod", 1), all_tenants=True) == []


async def test_what_cannot_have_been_seen_is_refused(moved, refused):
    for seen in ([("prod", 0)], [("prod", 1), ("prod", 2)], [(f"a{n}", 1) for n in range(10_001)], [("..", 1)]):
        async with refused("INVALID_ARGUMENT", "seen"):
            await snapshot(moved, *seen)
