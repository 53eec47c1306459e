# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Garbage goes after two looks and a wait; what anything refers to stays, whoever publishes or moves meanwhile."""

import asyncio
import hashlib
import random

import grpc
import pytest

from dragoman_models.record_fields import canonical_json
from dragoman_registry import garbage, garbage_marks, publish_intent
from dragoman_registry.folder import FolderStore
from dragoman_registry.memory import MemoryStore

BLOBS = "tenants/acme/blobs/sha256/"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def plant(store: MemoryStore, *contents: bytes) -> list[str]:
    """Leave blobs that nothing refers to."""
    keys = [f"{BLOBS}{sha256(data)}" for data in contents]
    store.objects.update(zip(keys, contents, strict=True))
    return keys


def condemn(store: MemoryStore, *contents: bytes) -> None:
    """Leave blobs that a collector may delete at once."""
    for key in plant(store, *contents):
        store.objects[f"tenants/acme/condemned/{key.removeprefix(BLOBS)}"] = canonical_json(
            {"format": garbage_marks.CONDEMNED_FORMAT, "time": "2026-01-01T00:00:00.000000Z"}
        )


async def every_file_is_there(client) -> int:
    numbers = await client.numbers()
    for number in numbers:
        for file in (await client.get(number)).files:
            assert sha256(await client.download(number, file.path)) == file.sha256
    return len(numbers)


@pytest.fixture
async def at_once(start):
    """A registry whose garbage waits for nothing but the second call."""
    async with start(gc_wait_s=0.0) as registry:
        yield registry


async def test_an_orphan_is_condemned_first_and_deleted_by_a_later_call(at_once, make):
    async with at_once.client() as client:
        await client.publish(make.good())
        [orphan] = plant(at_once.store, b"orphan")
        dry = await client.gc(dry_run=True)
        assert [(item.key, item.is_deleted) for item in dry.garbage] == [(orphan, False)]
        first = await client.gc()
        assert [(item.key, item.is_deleted) for item in first.garbage] == [(orphan, False)]
        dry = await client.gc(dry_run=True)
        assert [(item.key, item.is_deleted) for item in dry.garbage] == [(orphan, True)]
        assert orphan in at_once.store.objects
        second = await client.gc()
        assert [(item.key, item.is_deleted) for item in second.garbage] == [(orphan, True)]
        assert (second.num_condemned, second.num_deleted, second.num_kept) == (0, 1, 5)
        assert orphan not in at_once.store.objects
        assert await every_file_is_there(client) == 1
        assert (await client.gc()).garbage == []
        assert not [key for key in at_once.store.objects if "/condemned/" in key]


async def test_a_dry_run_writes_nothing(at_once, make):
    async with at_once.client() as client:
        await client.publish(make.good())
        plant(at_once.store, b"orphan")
        before = dict(at_once.store.objects)
        await client.gc(dry_run=True)
        assert at_once.store.objects == before


async def test_what_was_condemned_waits(start, make):
    async with start(gc_wait_s=3600.0) as registry, registry.client() as client:
        [orphan] = plant(registry.store, b"orphan")
        for _ in range(3):
            assert (await client.gc()).num_deleted == 0
        assert orphan in registry.store.objects


async def test_what_a_begun_publish_brings_stays_until_its_intent_expires(start, make):
    async with start(gc_wait_s=0.0) as registry, registry.client() as client:
        messages = make.upload(make.good())
        with pytest.raises(grpc.RpcError):
            await client.send(messages[:-1])
        blobs = {key for key in registry.store.objects if key.startswith(BLOBS)}
        assert blobs
        for _ in range(3):
            assert (await client.gc()).garbage == []
        async with start(registry.store, gc_wait_s=0.0, intent_lifetime_s=0.0) as later, later.client() as collecting:
            for _ in range(2):
                await collecting.gc()
        assert [
            key for key in registry.store.objects if key.startswith((BLOBS, "tenants/acme/models/r8/intents"))
        ] == []
        assert (await client.send(messages)).created


async def test_a_retry_with_an_old_intent_declares_itself_anew(start, make, monkeypatch):
    async with start(intent_lifetime_s=0.0) as registry, registry.client() as client:
        messages = make.upload(make.good())
        with pytest.raises(grpc.RpcError):
            await client.send(messages[:-1])
        await client.send(messages)
        intents = [key for key in registry.store.objects if "/intents/" in key]
        assert [key.rpartition("/")[2].partition(".")[0] for key in intents] == ["p1", "p1"]


async def test_a_withdrawn_version_keeps_its_files_for_the_rollback_window(start, make):
    async with start(gc_wait_s=0.0, intent_lifetime_s=0.0) as registry, registry.client() as client:
        for seed in range(2):
            await client.publish(make.good(seed), publish_id=f"p{seed}")
        await client.move(2)
        await client.withdraw(1)
        for _ in range(2):
            assert [item for item in (await client.gc()).garbage if "/blobs/" in item.key] == []
        async with (
            start(registry.store, gc_wait_s=0.0, intent_lifetime_s=0.0, rollback_window_s=0.0) as later,
            later.client() as collecting,
        ):
            for _ in range(2):
                reply = await collecting.gc()
            # What the other version shares with it stays.
            assert [item.key for item in reply.garbage] == [f"{BLOBS}{sha256(make.good(0)['weights.safetensors'])}"]
            assert await collecting.download(2, "weights.safetensors") == make.good(1)["weights.safetensors"]
            assert (await collecting.get(1)).tombstone.reason == "leaks"


@pytest.mark.parametrize(
    "key",
    [
        "tenants/acme/models/r8/versions/1",
        "tenants/acme/models/r8/versions/7",
        "tenants/acme/models/r8/tombstones/1",
        "tenants/acme/models/r8/intents/px",
        f"tenants/acme/condemned/{'0' * 64}",
    ],
)
async def test_a_record_that_does_not_verify_stops_the_collection_and_nothing_is_deleted(at_once, make, refused, key):
    async with at_once.client() as client:
        await client.publish(make.good())
        [orphan] = plant(at_once.store, b"orphan")
        await client.gc()
        at_once.store.objects[key] = b"{}"
        async with refused("DATA_LOSS"):
            await client.gc()
        assert orphan in at_once.store.objects


async def test_a_version_that_the_store_lost_keeps_its_blobs(at_once, make, refused):
    async with at_once.client() as client:
        await client.publish(make.good())
        record = at_once.store.objects.pop("tenants/acme/models/r8/versions/1")
        async with refused("DATA_LOSS", "is gone"):
            await client.gc()
        at_once.store.objects["tenants/acme/models/r8/versions/1"] = record
        assert await every_file_is_there(client) == 1


async def test_only_an_operator_collects_and_only_its_tenants_garbage(at_once, refused):
    [orphan] = plant(at_once.store, b"orphan")
    async with at_once.client("worker") as worker, refused("PERMISSION_DENIED"):
        await worker.gc()
    async with at_once.client(tenant="other") as other:
        for _ in range(2):
            assert (await other.gc()).garbage == []
    assert orphan in at_once.store.objects


async def test_one_collection_of_a_tenant_at_a_time(at_once, make):
    async with at_once.client() as client:
        plant(at_once.store, *(str(n).encode() for n in range(20)))
        outcomes = await asyncio.gather(*(client.gc() for _ in range(4)), return_exceptions=True)
        codes = {outcome.code().name for outcome in outcomes if isinstance(outcome, grpc.RpcError)}
        assert codes <= {"FAILED_PRECONDITION"}
        assert not isinstance(outcomes[0], grpc.RpcError) or len(codes) == 1


async def test_a_folder_loses_exactly_its_garbage(start, make, tmp_path):
    store = FolderStore(tmp_path)
    async with start(store, gc_wait_s=0.0, intent_lifetime_s=0.0) as registry, registry.client() as client:
        await client.publish(make.good())
        messages = make.upload(make.good(1), publish_id="p2")
        with pytest.raises(grpc.RpcError):
            await client.send(messages[:-1])
        num_blobs = len(await store.names_below(BLOBS.rstrip("/")))
        for _ in range(2):
            await client.gc()
        assert (num_blobs, len(await store.names_below(BLOBS.rstrip("/")))) == (6, 5)
        assert await every_file_is_there(client) == 1
    store.close()


class SlowToDelete(MemoryStore):
    """A deletion takes effect a while after it was asked for, as one on a network does."""

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(7)
        self.num_deleted = 0

    async def delete(self, key: str) -> None:
        await asyncio.sleep(self.random.random() * 0.05)
        self.num_deleted += key.startswith(BLOBS) and key in self.objects
        await super().delete(key)


async def test_of_200_publishes_and_moves_that_race_with_collections_nothing_is_lost(start, make, monkeypatch):
    """Every blob that comes lies there as garbage that is due, and two registries collect without a wait."""
    monkeypatch.setattr(publish_intent, "DELETE_WINDOW_S", 0.1)
    monkeypatch.setattr(publish_intent, "SPARE_WAIT_S", 0.3)
    store = SlowToDelete()
    packages = [make.good(seed, num_wrong=10 + seed % 3) for seed in range(100)]
    async with (
        start(store, gc_wait_s=0.0) as one,
        start(store, gc_wait_s=0.0) as two,
        one.client() as first,
        two.client() as second,
    ):

        async def collect(client) -> None:
            while True:
                await client.gc()

        collectors = [asyncio.create_task(collect(client)) for client in (first, second)]

        async def publish(number: int) -> None:
            # Each content twice, by two registries.
            client = (first, second)[number % 2]
            condemn(store, *packages[number // 2].values(), f"orphan {number}".encode())
            # What comes in a while: a collector that finds it is at work when its publisher comes.
            condemn(store, *packages[(number // 2 + 5) % 100].values())
            for _ in range(20):
                try:
                    reply = await client.publish(packages[number // 2], publish_id=f"p{number}")
                    await client.move(reply.version.number, alias="canary", request_id=f"q{number}")
                    return
                except grpc.RpcError as error:
                    assert error.code().name == "ABORTED", error.details()  # noqa: PT017 - most tries pass
            pytest.fail("20 tries")

        async def some(start_: int) -> None:
            for number in range(start_, 200, 20):
                await publish(number)

        await asyncio.gather(*(some(start_) for start_ in range(20)))
        for collector in collectors:
            collector.cancel()
        outcomes = await asyncio.gather(*collectors, return_exceptions=True)
        assert [error for error in outcomes if not isinstance(error, asyncio.CancelledError)] == []
        await one.catalog.scan()
        assert await every_file_is_there(first) == 100
        assert store.num_deleted >= 10
        assert await first.alias("canary") == await second.alias("canary")


class HeldBeforeDeleting(MemoryStore):
    """The first deletion of a blob is under way until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_under_way, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def delete(self, key: str) -> None:
        if key.startswith(BLOBS):
            self.is_under_way.set()
            await self.may_go_on.wait()
        await super().delete(key)


async def test_a_deletion_under_way_never_hits_a_version_that_was_committed(start, make, monkeypatch, refused):
    monkeypatch.setattr(publish_intent, "SPARE_WAIT_S", 0.5)
    store = HeldBeforeDeleting()
    async with start(store, gc_wait_s=0.0) as registry, registry.client() as client:
        condemn(store, make.good(0)["weights.safetensors"])
        collection = asyncio.create_task(client.gc())
        await store.is_under_way.wait()
        publish = asyncio.create_task(client.publish(make.good(0)))
        asyncio.get_running_loop().call_later(0.2, store.may_go_on.set)
        async with refused("ABORTED", "went from the store"):
            await publish
        assert (await collection).num_deleted == 1
        assert await client.numbers() == []
        assert (await client.publish(make.good(0))).created
        assert await every_file_is_there(client) == 1


def test_the_wait_of_a_publisher_outlasts_every_deletion_that_a_collector_may_still_make():
    assert publish_intent.SPARE_WAIT_S > publish_intent.DELETE_WINDOW_S + 3 * 10
    assert garbage.BATCH >= 1
