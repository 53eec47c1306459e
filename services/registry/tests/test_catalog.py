# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What is answered from memory, what is read again, and how another registry's writes and a bad store show."""

import asyncio

import grpc
import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.errors import UnavailableError
from dragoman_registry.bounded import map_bounded
from dragoman_registry.folder import FolderStore
from dragoman_registry.memory import MemoryStore

MODEL = "tenants/acme/models/r8"


class CountedStore(MemoryStore):
    """Notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        self.asked.append(key)
        return await super().read(key, offset=offset, length=length)

    def events(self) -> list[int]:
        """The sequences of the events of prod that were read."""
        prefix = f"{MODEL}/aliases/prod/"
        return sorted(int(key.removeprefix(prefix)) for key in self.asked if key.startswith(prefix) and key != prefix)

    async def names_below(self, prefix: str) -> list[str]:
        self.asked.append(f"{prefix}/")
        return await super().names_below(prefix)


@pytest.fixture
async def counted(start):
    async with start(CountedStore()) as registry:
        yield registry


async def history(client) -> list[int]:
    reply = await client.stub.ListAliasEvents(pb.ListAliasEventsRequest(model="r8", alias="prod"), timeout=20)
    return [event.stable_version for event in reply.events]


async def publish_and_move(client, make, *versions: int) -> None:
    for seed in range(2):
        await client.publish(make.good(seed), publish_id=f"p{seed}")
    for version in versions:
        await client.move(version)


async def test_an_alias_is_read_by_its_newest_event_and_the_one_after_it(counted, make):
    async with counted.client() as client:
        await publish_and_move(client, make, 1, 2, 1, 2, 1)
        first = (await client.alias()).move_time
        for question in (client.alias(), client.alias(at_time=first), history(client)):
            counted.store.asked.clear()
            await question
            assert counted.store.events() == [5, 6]
            assert len(counted.store.asked) <= 3, "and at most the alias's head"


async def test_a_quiet_scan_reads_no_record(counted, make):
    async with counted.client() as client:
        await publish_and_move(client, make, 1, 2)
        await counted.catalog.scan()
        counted.store.asked.clear()
        await counted.catalog.scan()
        assert [key for key in counted.store.asked if not key.endswith("/")] == []


async def test_a_scan_after_a_move_reads_two_events_of_a_long_chain(counted, start, make):
    async with counted.client() as client, start(counted.store) as other, other.client() as moving:
        await publish_and_move(client, make, 1, 2, 1, 2)
        await counted.catalog.scan()
        await moving.move(1)
        counted.store.asked.clear()
        await counted.catalog.scan()
        assert counted.store.events() == [4, 5, 6]


async def test_what_another_registry_wrote_is_seen_by_the_next_read(start, make):
    async with start() as one, start(one.store) as two, one.client() as here, two.client() as there:
        await publish_and_move(here, make, 1)
        assert (await there.alias()).sequence == 1
        for turn in range(2, 12):
            moving, reading = (here, there) if turn % 2 else (there, here)
            moved = await moving.move(1 + turn % 2)
            assert await reading.alias() == moved
            assert len(await history(reading)) == turn
            by_alias = await reading.stub.GetVersion(pb.GetVersionRequest(model="r8", alias="prod"), timeout=20)
            assert by_alias.version.number == moved.stable_version
        # Several moves at once, and what was published and withdrawn meanwhile.
        for turn in range(3):
            await there.move(1 + turn % 2)
        assert len(await history(here)) == 14
        number = (await there.publish(make.good(9), publish_id="p9")).version.number
        assert (await here.get(number)).number == number
        await there.withdraw(number)
        assert (await here.get(number)).tombstone.reason == "leaks"


@pytest.mark.parametrize("bad", [b"{}", b"", None])
async def test_a_bad_next_event_is_refused_at_each_read_and_forgotten_once_it_is_gone(counted, make, refused, bad):
    async with counted.client() as client:
        await publish_and_move(client, make, 1, 2)
        counted.store.objects[f"{MODEL}/aliases/prod/3"] = (
            counted.store.objects[f"{MODEL}/aliases/prod/2"] if bad is None else bad
        )
        for _ in range(2):
            async with refused("DATA_LOSS", "aliases/prod"):
                await client.alias()
        await counted.catalog.scan()
        async with refused("DATA_LOSS", "aliases/prod"):
            await history(client)
        del counted.store.objects[f"{MODEL}/aliases/prod/3"]
        assert (await client.alias()).sequence == 2
        assert await history(client) == [1, 2]


@pytest.mark.parametrize("damage", ["changed", "removed", "added"])
async def test_damage_to_an_old_event_is_found_by_a_scan_and_told_until_it_is_repaired(counted, make, refused, damage):
    async with counted.client() as client:
        await publish_and_move(client, make, 1, 2, 1)
        key = f"{MODEL}/aliases/prod/1"
        good = counted.store.objects[key]
        await client.alias()
        await counted.catalog.scan()
        if damage == "removed":
            del counted.store.objects[key]
        elif damage == "changed":
            counted.store.objects[key] = good.replace(b"payload", b"Payload")
        else:
            counted.store.objects[f"{key}0"] = good
        # Before: the events that verified, from memory.
        assert await history(client) == [1, 2, 1]
        await counted.catalog.scan()
        for _ in range(2):
            async with refused("DATA_LOSS", "aliases/prod"):
                await client.alias()
            async with refused("DATA_LOSS", "aliases/prod"):
                await history(client)
            await counted.catalog.scan()
        counted.store.objects[key] = good
        counted.store.objects.pop(f"{key}0", None)
        assert await history(client) == [1, 2, 1]


async def test_a_version_changed_or_removed_behind_the_catalogue_is_logged_by_the_next_scan(
    counted, make, refused, caplog
):
    async with counted.client() as client:
        await publish_and_move(client, make)
        await counted.catalog.scan()
        good = counted.store.objects[f"{MODEL}/versions/1"]
        for bad in (good[:-3], None):
            caplog.clear()
            if bad is None:
                del counted.store.objects[f"{MODEL}/versions/1"]
            else:
                counted.store.objects[f"{MODEL}/versions/1"] = bad
            await counted.catalog.scan()
            [damage] = [record.reason for record in caplog.records if record.message == "a record does not verify"]
            assert damage.startswith("acme/r8/versions/1")
            async with refused("DATA_LOSS", "acme/r8/versions/1"):
                await client.get(1)


class ListsLate(MemoryStore):
    """Lists an alias's events, and lets somebody write before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.has_listed, self.may_answer = asyncio.Event(), asyncio.Event()
        self.is_held = False

    async def names_below(self, prefix: str) -> list[str]:
        names = await super().names_below(prefix)
        if self.is_held and prefix.endswith("/aliases/prod"):
            self.is_held = False
            self.has_listed.set()
            await self.may_answer.wait()
        return names


async def test_a_move_while_a_chain_is_read_is_not_taken_for_a_loss(start, make):
    store = ListsLate()
    async with start(store) as registry, registry.client() as client:
        await publish_and_move(client, make, 1)
        store.is_held = True
        slow = asyncio.create_task(registry.catalog.checked_chain("acme", "r8", "prod"))
        await store.has_listed.wait()
        await client.move(2)
        store.may_answer.set()
        assert len(await slow) == 1
        assert (await client.alias()).sequence == 2


async def test_a_folder_is_watched_as_well(start, make, tmp_path, refused):
    store = FolderStore(tmp_path)
    async with start(store) as registry, registry.client() as client:
        await publish_and_move(client, make, 1, 2)
        await registry.catalog.scan()
        path = tmp_path / MODEL / "aliases" / "prod" / "1"
        data = path.read_bytes()
        path.write_bytes(data.replace(b"payload", b"Payload"))
        await registry.catalog.scan()
        async with refused("DATA_LOSS", "aliases/prod"):
            await client.alias()
    store.close()


async def test_bounded_reads_keep_their_order_and_bound_and_end_with_the_first_error():
    running, most = 0, 0

    async def double(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(0)
        finally:
            running -= 1
        if item == 77:
            raise UnavailableError("away")
        return 2 * item

    assert await map_bounded(double, range(50), width=4) == [2 * item for item in range(50)]
    assert most == 4
    with pytest.raises(UnavailableError):
        await map_bounded(double, range(1000), width=4)
    assert running == 0
    assert await map_bounded(double, [], width=4) == []


async def test_an_unknown_alias_is_not_found_and_is_found_once_another_registry_made_it(start, make):
    async with start() as one, start(one.store) as two, one.client() as here, two.client() as there:
        await publish_and_move(here, make)
        with pytest.raises(grpc.RpcError, match="does not exist"):
            await there.alias()
        await here.move(1)
        assert (await there.alias()).sequence == 1
