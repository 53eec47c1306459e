# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Aliases: one winner per move, a history that tells every move, and followers that hear each one."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_events.topics import MODELS
from dragoman_models.verify import VerifyingKeys, verify_alias_event
from dragoman_registry import convert, promotion
from dragoman_registry.alias import Move, StoredEvent, next_record


@pytest.fixture
async def published(client, make):
    """Three versions, each as good as the others."""
    for seed in range(3):
        await client.publish(make.good(seed), publish_id=f"p{seed}")
    return client


async def test_of_32_racing_moves_from_one_state_one_wins(published):
    await published.move(1)
    outcomes = await asyncio.gather(
        *(published.move(2 + n % 2, expected_sequence=1, request_id=f"q{n}") for n in range(32)),
        return_exceptions=True,
    )
    won = [event for event in outcomes if isinstance(event, pb.AliasEvent)]
    assert [event.sequence for event in won] == [2]
    assert [e.code().name for e in outcomes if isinstance(e, grpc.RpcError)] == ["ABORTED"] * 31
    assert await published.alias() == won[0]


async def test_of_racing_moves_in_two_registries_on_one_store_one_wins(start, make):
    async with start() as one, start(one.store) as two, one.client() as first, two.client() as second:
        for seed in range(2):
            await first.publish(make.good(seed), publish_id=f"p{seed}")
        outcomes = await asyncio.gather(
            *((first, second)[n % 2].move(1 + n % 2, expected_sequence=0, request_id=f"q{n}") for n in range(16)),
            return_exceptions=True,
        )
        assert sum(isinstance(event, pb.AliasEvent) for event in outcomes) == 1
        assert await first.alias() == await second.alias()


async def test_a_version_by_alias_is_where_it_points_now_whatever_became_of_the_one_before(start, make):
    async with start() as one, start(one.store) as two, one.client() as first, two.client() as second:
        for seed in range(2):
            await first.publish(make.good(seed), publish_id=f"p{seed}")
        await first.move(1)
        wanted = pb.GetVersionRequest(model="r8", alias="prod")
        assert (await first.stub.GetVersion(wanted)).version.number == 1
        await second.move(2)
        del one.store.objects["tenants/acme/models/r8/versions/1"]
        assert (await first.stub.GetVersion(wanted)).version.number == 2


async def test_a_move_that_expects_another_state_is_aborted(published, refused):
    async with refused("ABORTED", "is at event 0, the move expected 1"):
        await published.move(1, expected_sequence=1)
    await published.move(1, expected_sequence=0)
    async with refused("ABORTED"):
        await published.move(2, expected_sequence=0)


async def test_the_same_request_moves_once_also_after_later_moves(published, refused, registry):
    first = await published.move(1, request_id="q1")
    await published.move(2, request_id="q2")
    assert await published.move(1, request_id="q1") == first
    assert (await published.alias()).sequence == 2
    async with refused("INVALID_ARGUMENT", "q1"):
        await published.move(3, request_id="q1")
    moved = [r for r in registry.log.read(MODELS, 0, 100) if r.headers["ce_type"].endswith(b"AliasMoved")]
    assert len(moved) == 2


async def test_a_move_to_a_version_that_does_not_exist_is_not_found(published, refused):
    for version, code in ((4, "NOT_FOUND"), (0, "INVALID_ARGUMENT"), (-1, "INVALID_ARGUMENT")):
        async with refused(code):
            await published.move(version)


@pytest.mark.parametrize("reason", ["x" * 1025, "line\nbreak", "\x1b[31m"])
async def test_a_reason_that_would_break_a_log_is_refused(published, refused, reason):
    async with refused("INVALID_ARGUMENT", "reason"):
        await published.move(1, reason=reason)


async def test_every_event_verifies_and_continues_the_chain(registry, published):
    for version in (1, 2, 1, 3):
        await published.move(version)
    reply = await published.stub.ListAliasEvents(pb.ListAliasEventsRequest(model="r8", alias="prod"))
    trusted, previous = VerifyingKeys([registry.key.public_key]), None
    for number, event in enumerate(reply.events, start=1):
        previous = verify_alias_event(
            event.record.envelope, trusted, tenant="acme", model="r8", alias="prod", previous=previous, sequence=number
        )
        assert (previous.stable_version, previous.move_time) == (
            event.stable_version,
            event.move_time.ToDatetime(previous.move_time.tzinfo),
        )
        assert event.moved_by == "operator:operator"
    assert [event.stable_version for event in reply.events] == [1, 2, 1, 3]


async def test_events_come_in_pages_oldest_first(published, refused):
    for version in (1, 2, 3, 1, 2):
        await published.move(version)
    pages, token = [], ""
    while True:
        request = pb.ListAliasEventsRequest(model="r8", alias="prod", page_size=2, page_token=token)
        reply = await published.stub.ListAliasEvents(request)
        pages.append([event.sequence for event in reply.events])
        if not (token := reply.next_page_token):
            break
    assert pages == [[1, 2], [3, 4], [5]]
    async with refused("NOT_FOUND"):
        await published.stub.ListAliasEvents(pb.ListAliasEventsRequest(model="r8", alias="none"))


async def test_a_version_is_found_through_its_alias(published, refused):
    await published.move(2)
    reply = await published.stub.GetVersion(pb.GetVersionRequest(model="r8", alias="prod"))
    assert reply.version.number == 2
    async with refused("NOT_FOUND", "r8@none"):
        await published.stub.GetVersion(pb.GetVersionRequest(model="r8", alias="none"))
    async with refused("INVALID_ARGUMENT", "number or alias"):
        await published.stub.GetVersion(pb.GetVersionRequest(model="r8"))


async def test_an_impossible_time_is_refused(published, refused):
    await published.move(1)
    for seconds, nanos in ((0, -1), (0, 10**9), (10**12, 0)):
        time = pb.GetAliasRequest().at_time
        time.seconds, time.nanos = seconds, nanos
        async with refused("INVALID_ARGUMENT", "at_time"):
            await published.alias(at_time=time)


class Follower:
    def __init__(self, client, **request) -> None:
        self.call = client.stub.WatchAliases(pb.WatchAliasesRequest(**request), timeout=20)

    async def snapshot(self) -> list[tuple[str, str, int]]:
        seen = []
        while True:
            message = await self.call.read()
            if message.HasField("event"):
                seen.append((message.event.tenant, message.event.alias, message.event.sequence))
            if message.is_snapshot_complete:
                return sorted(seen)

    async def event(self) -> tuple[str, str, int]:
        while not (message := await self.call.read()).HasField("event"):
            pass
        return (message.event.tenant, message.event.alias, message.event.sequence)


async def test_a_follower_gets_a_snapshot_and_then_every_move(published):
    await published.move(1)
    await published.move(2)
    await published.move(1, alias="canary")
    follower = Follower(published)
    assert await follower.snapshot() == [("acme", "canary", 1), ("acme", "prod", 2)]
    for sequence in (3, 4, 5):
        await published.move(sequence % 3 + 1)
        assert await follower.event() == ("acme", "prod", sequence)
    follower.call.cancel()


async def test_followers_see_their_tenant_and_platform_services_all(registry, published, make):
    await published.move(1)
    async with registry.client(tenant="other") as other, registry.client("worker", tenant="") as worker:
        nosy, all_tenants = Follower(other, all_tenants=True), Follower(worker, all_tenants=True)
        assert await nosy.snapshot() == []
        assert await all_tenants.snapshot() == [("acme", "prod", 1)]
        await other.publish(make.good())
        await published.move(2)
        await other.move(1)
        assert await nosy.event() == ("other", "prod", 1)
        assert [await all_tenants.event() for _ in range(2)] == [("acme", "prod", 2), ("other", "prod", 1)]
        nosy.call.cancel()
        all_tenants.call.cancel()


async def test_silence_is_filled_with_heartbeats(start):
    async with start(heartbeat_s=0.01) as registry, registry.client() as client:
        follower = Follower(client)
        await follower.snapshot()
        message = await follower.call.read()
        assert not message.HasField("event")
        assert message.heartbeat_period.ToMilliseconds() == 10
        follower.call.cancel()


async def test_a_move_by_another_registry_reaches_followers_after_a_scan(start, make):
    async with start() as one, start(one.store) as two, one.client() as first, two.client() as second:
        await second.publish(make.good())
        follower = Follower(first)
        assert await follower.snapshot() == []
        await second.move(1)
        await one.catalog.scan()
        assert await follower.event() == ("acme", "prod", 1)
        follower.call.cancel()


async def test_models_are_listed_with_their_aliases(published):
    await published.move(2)
    await published.move(1, alias="canary")
    models = (await published.stub.ListModels(pb.ListModelsRequest())).models
    assert [(item.model, item.num_versions, item.newest_version) for item in models] == [("r8", 3, 3)]
    assert [(event.alias, event.stable_version) for event in models[0].aliases] == [("canary", 1), ("prod", 2)]


def test_times_survive_conversion():
    time = convert.time_from_pb(pb.GetAliasRequest().at_time, field="t")
    assert convert.time_from_pb(convert.time_to_pb(time), field="t") == time


async def test_a_model_has_a_bounded_number_of_aliases(published, refused, monkeypatch):
    monkeypatch.setattr(promotion, "MAX_ALIASES", 2)
    await published.move(1)
    await published.move(1, alias="canary")
    async with refused("FAILED_PRECONDITION", "2 aliases"):
        await published.move(1, alias="third")
    assert (await published.move(2)).sequence == 2


def test_a_clock_that_steps_back_never_puts_a_move_before_its_predecessor():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    move = Move(
        tenant="acme",
        model="r8",
        alias="prod",
        version=1,
        reason="",
        expected_sequence=None,
        request_id="q",
        moved_by="me",
    )

    @dataclass
    class Version:
        number: int = 1
        root_sha256: str = "0" * 64

    first = next_record([], move, Version(), gate_summary="", now=now, nonce="n")
    chain = [StoredEvent(record=first, envelope=b"")]
    second = next_record(chain, move, Version(), gate_summary="", now=now - timedelta(hours=1), nonce="n")
    assert (first.move_time, second.move_time, second.sequence) == (now, now, 2)
