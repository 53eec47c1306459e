# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A withdrawn version is pointed to and handed out by nobody, and stays in the history; races with moves end well."""

import asyncio
import dataclasses

import grpc
import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_models.signing import SigningKey
from dragoman_models.tombstone import sign_tombstone, verify_tombstone
from dragoman_models.verify import VerifyingKeys

TOMBSTONE = "tenants/acme/models/r8/tombstones/1"


@pytest.fixture
async def versions(client, make):
    """Two good versions, prod on the second after the first."""
    for seed in range(2):
        await client.publish(make.good(seed), publish_id=f"p{seed}")
        await client.move(seed + 1)
    return client


async def test_a_withdrawn_version_is_not_pointed_to_nor_handed_out(versions, refused):
    tombstone = await versions.withdraw(1, reason="trained on leaked rows")
    assert (tombstone.reason, tombstone.withdrawn_by) == ("trained on leaked rows", "operator:operator")
    for call in (
        versions.move(1),
        versions.move(1, alias="canary"),
        versions.download(1, "model.json"),
        versions.stub.GetFileUrl(pb.GetFileUrlRequest(model="r8", number=1, path="model.json")),
    ):
        async with refused("FAILED_PRECONDITION", "was withdrawn by operator:operator: trained on leaked rows"):
            await call
    assert await versions.download(2, "model.json")


async def test_it_stays_in_lists_and_history_and_says_so(versions, make):
    await versions.withdraw(1)
    assert (await versions.get(1)).tombstone.reason == "leaks"
    reply = await versions.stub.ListVersions(pb.ListVersionsRequest(model="r8"))
    assert [(version.number, version.HasField("tombstone")) for version in reply.versions] == [(2, False), (1, True)]
    events = (await versions.stub.ListAliasEvents(pb.ListAliasEventsRequest(model="r8", alias="prod"))).events
    assert [event.stable_version for event in events] == [1, 2]
    again = await versions.publish(make.good(0), publish_id="p9")
    assert (again.created, again.version.HasField("tombstone")) == (False, True)


async def test_a_version_that_an_alias_points_to_is_not_withdrawn(versions, refused):
    await versions.move(1, alias="canary")
    for version, alias in ((2, "prod"), (1, "canary")):
        async with refused("FAILED_PRECONDITION", f"r8@{alias} points to version {version}"):
            await versions.withdraw(version)
    await versions.move(2, alias="canary")
    assert (await versions.withdraw(1)).reason == "leaks"


async def test_a_second_withdrawal_keeps_the_first_word(versions):
    first = await versions.withdraw(1)
    assert await versions.withdraw(1, reason="other") == first


@pytest.mark.parametrize("reason", ["", "x" * 1025, "a\nb"])
async def test_a_withdrawal_says_why(versions, refused, reason):
    async with refused("INVALID_ARGUMENT", "reason"):
        await versions.withdraw(1, reason=reason)


async def test_only_operators_withdraw_and_only_what_is_theirs(registry, versions, refused):
    async with registry.client("worker") as worker, refused("PERMISSION_DENIED"):
        await worker.withdraw(1)
    async with registry.client(tenant="other") as other, refused("NOT_FOUND"):
        await other.withdraw(1)
    async with refused("NOT_FOUND"):
        await versions.withdraw(9)


async def test_a_restart_knows_what_was_withdrawn(registry, versions, start, refused):
    await versions.withdraw(1)
    async with start(registry.store) as again, again.client() as client:
        reply = await client.stub.ListVersions(pb.ListVersionsRequest(model="r8"))
        assert [version.HasField("tombstone") for version in reply.versions] == [False, True]
        async with refused("FAILED_PRECONDITION", "withdrawn"):
            await client.download(1, "model.json")


async def test_a_tombstone_that_is_taken_away_still_counts(registry, versions, refused):
    await versions.withdraw(1)
    del registry.store.objects[TOMBSTONE]
    async with refused("FAILED_PRECONDITION", "withdrawn"):
        await versions.move(1)


async def test_a_tombstone_of_another_place_or_hand_stops_that_version_only_and_is_logged(
    registry, versions, refused, caplog
):
    await versions.withdraw(1)
    good = registry.store.objects[TOMBSTONE]
    keys = VerifyingKeys([registry.key.public_key])
    record = verify_tombstone(good, keys, tenant="acme", model="r8", version=1)
    planted = f"{TOMBSTONE[:-1]}2"
    for data in (
        b"{}",
        good,
        sign_tombstone(dataclasses.replace(record, version=2), registry.key),
        sign_tombstone(dataclasses.replace(record, version=2), SigningKey.generate()),
    ):
        registry.store.objects[planted] = data
        async with refused("DATA_LOSS", "acme/r8/tombstones/2"):
            await versions.download(2, "model.json")
    assert {r.message for r in caplog.records if "tombstones/2" in getattr(r, "reason", "")} == {
        "a record does not verify",
        "audit: object refused",
    }
    del registry.store.objects[planted]
    assert await versions.download(2, "model.json")


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_move_that_a_withdrawal_overtakes_is_taken_back(registry, versions, refused, monkeypatch, is_first):
    """The withdrawal of another registry happens between the mover's last look and its write."""
    alias = "fresh" if is_first else "prod"
    create = registry.store.create
    key = f"tenants/acme/models/r8/aliases/{alias}/{1 if is_first else 3}"
    tombstone_of = {}

    async def overtaken(name: str, data: bytes) -> None:
        if name == key:
            registry.store.objects.update(tombstone_of)
        await create(name, data)

    await versions.withdraw(1)
    tombstone_of[TOMBSTONE] = registry.store.objects.pop(TOMBSTONE)
    registry.catalog._tenants["acme"]["r8"].tombstones.clear()
    monkeypatch.setattr(registry.store, "create", overtaken)
    async with refused("FAILED_PRECONDITION", "was withdrawn"):
        await versions.move(1, alias=alias)
    if is_first:
        async with refused("FAILED_PRECONDITION", "withdrawn"):
            await versions.download((await versions.alias(alias)).stable_version, "model.json")
    else:
        event = await versions.alias(alias)
        assert (event.sequence, event.stable_version, event.moved_by) == (4, 2, "registry:registry")
        assert "version 1 was withdrawn" in event.reason


async def test_an_alias_that_came_to_a_version_while_it_was_withdrawn_is_sent_back(registry, versions, monkeypatch):
    create = registry.store.create

    async def overtaken(name: str, data: bytes) -> None:
        if name == TOMBSTONE:
            await versions.move(1)
        await create(name, data)

    monkeypatch.setattr(registry.store, "create", overtaken)
    await versions.withdraw(1)
    event = await versions.alias("prod")
    assert (event.sequence, event.stable_version, event.moved_by) == (4, 2, "registry:registry")
    assert (await versions.get(1)).HasField("tombstone")


async def test_racing_moves_and_withdrawals_never_leave_an_alias_on_a_withdrawn_version(start, make):
    for round_ in range(8):
        async with start() as one, start(one.store) as two, one.client() as mover, two.client() as withdrawer:
            for seed in range(2):
                await mover.publish(make.good(seed), publish_id=f"p{seed}")
            await mover.move(1)
            moves = [mover.move(2, request_id=f"q{round_}{n}") for n in range(3)]
            outcomes = await asyncio.gather(*moves, withdrawer.withdraw(2), return_exceptions=True)
            codes = {o.code().name for o in outcomes if isinstance(o, grpc.RpcError)}
            assert codes <= {"FAILED_PRECONDITION", "ABORTED"}
            version = await mover.get(2)
            assert not (version.HasField("tombstone") and (await mover.alias()).stable_version == 2)
