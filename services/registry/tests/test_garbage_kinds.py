# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Garbage that is no blob, what is told of it, and collection without being asked."""

import asyncio
import io
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.settings import Secret
from dragoman_models.key_list import KeyList, ListedKey
from dragoman_models.signing import SigningKey, public_pem
from dragoman_models.verify import VerifyingKeys
from dragoman_registry import garbage, garbage_background, layout, publish_intent
from dragoman_registry.claim import new_claim
from dragoman_registry.garbage_background import collect_forever
from dragoman_registry.memory import MemoryStore
from dragoman_registry.s3 import PART_BYTES, S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CLAIMS = "tenants/acme/models/r8/by-digest/"
ROOT = "c" * 64


@pytest.fixture
async def at_once(start):
    async with start(gc_wait_s=0.0, intent_lifetime_s=0.0) as registry:
        yield registry


def orphan(store, data: bytes = b"orphan", name: str = "0" * 64) -> str:
    key = f"tenants/acme/blobs/sha256/{name}"
    store.objects[key] = data
    return key


async def test_a_dry_run_says_what_why_and_how_many_bytes(at_once, make):
    async with at_once.client() as client:
        await client.publish(make.good())
        orphan(at_once.store, b"12345")
        intent = layout.intent("acme", "r8", "p1")
        size = len(at_once.store.objects[intent])
        dry = await client.gc(dry_run=True)
        told = [(item.key, item.reason, item.size_bytes, item.is_deleted) for item in dry.garbage]
        assert told == [
            (intent, pb.GARBAGE_REASON_EXPIRED_INTENT, size, True),
            (f"tenants/acme/blobs/sha256/{'0' * 64}", pb.GARBAGE_REASON_UNREFERENCED_BLOB, 5, False),
        ]
        assert (dry.condemned_bytes, dry.deleted_bytes, dry.num_kept) == (5, size, 5)
        await client.gc()
        real = await client.gc()
        assert (real.condemned_bytes, real.deleted_bytes, real.num_deleted) == (0, 5, 1)


async def test_one_call_handles_a_bounded_number_and_the_next_goes_on(at_once, monkeypatch):
    monkeypatch.setattr(garbage, "MAX_HANDLED", 3)
    for number in range(8):
        orphan(at_once.store, name=f"{number:064}")
    async with at_once.client() as client:
        assert (await client.gc()).num_left == 5
        for _ in range(8):
            await client.gc()
    assert not [key for key in at_once.store.objects if "/blobs/" in key or "/condemned/" in key]


async def test_claims_that_all_went_to_other_content_go_and_only_they(at_once, make):
    async with at_once.client() as client:
        for seed in range(2):
            await client.publish(make.good(seed), publish_id=f"p{seed}")
        kept = {key for key in at_once.store.objects if key.startswith(CLAIMS)}
        # Lost twice; lost once with a number that is free yet; and beside a version that holds the content.
        root = next(iter(kept)).removeprefix(CLAIMS)
        at_once.store.objects |= {f"{CLAIMS}{ROOT}": new_claim(1), f"{CLAIMS}{ROOT}.2": new_claim(2)}
        pending = {f"{CLAIMS}{'d' * 64}": new_claim(1), f"{CLAIMS}{'d' * 64}.2": new_claim(3)}
        beside = {f"{CLAIMS}{root}.2": new_claim(1)}
        at_once.store.objects |= pending | beside
        first = await client.gc()
        lost = [(item.key, item.is_deleted) for item in first.garbage if "by-digest" in item.key]
        assert lost == [(f"{CLAIMS}{ROOT}", False), (f"{CLAIMS}{ROOT}.2", False)]
        second = await client.gc()
        gone = {item.key for item in second.garbage if item.reason == pb.GARBAGE_REASON_LOST_CLAIM and item.is_deleted}
        assert gone == {f"{CLAIMS}{ROOT}", f"{CLAIMS}{ROOT}.2"}
        assert {key for key in at_once.store.objects if key.startswith(CLAIMS)} == kept | set(pending) | set(beside)
        assert not [key for key in at_once.store.objects if "/condemned/" in key]
        assert not (await client.publish(make.good(0), publish_id="p9")).created


async def test_a_publish_spares_its_lost_claims_and_waits_before_it_reads_them(start, make, monkeypatch):
    monkeypatch.setattr(publish_intent, "SPARE_WAIT_S", 0.2)
    async with start(gc_wait_s=0.0) as registry, registry.client() as client:
        await client.publish(make.good(0))
        files = make.good(1)
        root = (await client.publish(files, model="other")).version.root_sha256
        registry.store.objects[f"{CLAIMS}{root}"] = new_claim(1)
        # A publish of the same content that was begun would protect them, whatever its model.
        del registry.store.objects[layout.intent("acme", "other", "p1")]
        assert [item.reason for item in (await client.gc()).garbage] == [pb.GARBAGE_REASON_LOST_CLAIM]
        begin_s = asyncio.get_running_loop().time()
        reply = await client.publish(files, publish_id="p2")
        assert asyncio.get_running_loop().time() - begin_s >= 0.2
        assert (reply.version.number, reply.created) == (2, True)
        assert (await client.gc()).garbage == []
        assert {f"{CLAIMS}{root}", f"{CLAIMS}{root}.2"} <= set(registry.store.objects)
        assert not (await client.publish(files, publish_id="p3")).created


def listed(key: SigningKey, revoked: datetime | None) -> ListedKey:
    return ListedKey(pem=public_pem(key.public_key).decode(), revoked_time=revoked)


async def test_second_signatures_by_a_revoked_key_go_where_another_counts_and_stay_where_none_does(start, make):
    first, second, third = (SigningKey.generate() for _ in range(3))

    def trusted(*revoked: SigningKey) -> VerifyingKeys:
        keys = tuple(listed(key, LONG_AGO if key in revoked else None) for key in (first, second, third))
        return VerifyingKeys.of_list(KeyList(sequence=1, keys=keys, issue_time=LONG_AGO))

    async with start(key=first, trusted=trusted()) as registry, registry.client() as client:
        for seed in range(2):
            await client.publish(make.good(seed), publish_id=f"p{seed}")
    async with start(registry.store, key=second, trusted=trusted()) as registry:
        await registry.parts.resigner.run()
    async with start(registry.store, key=third, trusted=trusted()) as registry:
        await registry.parts.resigner.run()

    def copies(key: SigningKey) -> set[str]:
        return {name for name in registry.store.objects if f"/resigned/{key.key_id}/" in name}

    of_second, of_third = copies(second), copies(third)
    version = f"resigned/{third.key_id}/models/r8/versions/2"
    del registry.store.objects[f"tenants/acme/{version}"]
    assert len(of_second) >= 2
    async with start(registry.store, key=third, trusted=trusted(second)) as registry, registry.client() as client:
        # The first key counts: nothing of the second is needed.
        dry = await client.gc(dry_run=True)
        assert {item.key for item in dry.garbage if item.reason == pb.GARBAGE_REASON_REVOKED_SIGNATURE} == of_second
    async with start(registry.store, key=third, trusted=trusted(first, second)) as registry:
        found = {key for key, _ in await garbage.revoked_signatures(registry.store, trusted(first, second), "acme")}
        assert of_second - found == {f"tenants/acme/resigned/{second.key_id}/models/r8/versions/2"}
        assert copies(third) == of_third - {f"tenants/acme/{version}"}


class ToldOfDeletions(MemoryStore):
    """Counts down to the last deletion of a blob."""

    def __init__(self, num_blobs: int) -> None:
        super().__init__()
        self.num_blobs, self.all_deleted = num_blobs, asyncio.Event()

    async def delete(self, key: str) -> None:
        self.num_blobs -= "/blobs/" in key and key in self.objects
        await super().delete(key)
        if not self.num_blobs:
            self.all_deleted.set()


async def test_collection_without_being_asked_collects_every_tenant_and_passes_over_a_damaged_one(
    start, make, monkeypatch, caplog
):
    monkeypatch.setattr(garbage_background.random, "uniform", lambda _low, _high: 0.0)
    store = ToldOfDeletions(2)
    async with start(store, gc_wait_s=0.0) as registry, registry.client() as client:
        await client.publish(make.good())
        registry.store.objects["tenants/aaa/models/r8/versions/1"] = b"{}"
        keys = [orphan(registry.store), "tenants/zzz/blobs/sha256/" + "0" * 64]
        registry.store.objects[keys[1]] = b"orphan"
        running = asyncio.create_task(collect_forever(registry.parts.collector, 1.0))
        async with asyncio.timeout(20):
            await store.all_deleted.wait()
        running.cancel()
        await asyncio.wait([running])
        assert not set(keys) & set(store.objects)
        assert await client.download(1, "model.json") == make.good()["model.json"]
    assert {record.tenant for record in caplog.records if "not collected" in record.message} == {"aaa"}


async def test_a_period_of_zero_never_collects(registry):
    await asyncio.wait_for(collect_forever(registry.parts.collector, 0.0), 1)


@pytest.mark.slow
async def test_parts_that_a_dead_registry_left_are_freed_after_their_age_also_when_the_store_was_restarted(
    start, make, mortal_minio
):
    server = mortal_minio
    bucket = Bucket(name=server.make_bucket(), endpoint=server.endpoint, region=server.region)
    given = {"s3_access_key_id": Secret(server.access_key), "s3_secret_access_key": Secret(server.secret_key)}
    store, admin = S3Store(bucket, S3Settings(**given)), server.admin()
    files = make.good() | {"vectors.bin": bytes(PART_BYTES + 1)}
    sha256 = {file.path: file.sha256 for file in make.digests(files)}["vectors.bin"]
    key = layout.blob("acme", sha256)

    def left() -> list[str]:
        return [item.upload_id for item in admin._list_multipart_uploads(bucket.name, prefix=key).uploads]

    async with start(store) as registry, registry.client() as client:
        messages = make.upload(files)
        with pytest.raises(grpc.RpcError):
            await client.send(messages[:-1])
        assert left() == [], "who lives frees its own"
        # As a registry that was killed leaves it: MinIO forgets to list it by anything but its key once restarted.
        upload = admin._create_multipart_upload(bucket.name, key, {})
        admin._upload_part(bucket.name, key, bytes(100), None, upload, 1)
        stray = admin._create_multipart_upload(bucket.name, "somebody/Else", {})
        admin.put_object(bucket.name, "probe-beside", io.BytesIO(b""), 0)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        assert (await client.gc()).num_abandoned_uploads == 0
        assert left() == [upload]
    async with start(store, intent_lifetime_s=0.0) as registry, registry.client() as client:
        assert (await client.gc(dry_run=True)).num_abandoned_uploads == 0
        assert left() == [upload]
        assert (await client.gc()).num_abandoned_uploads == 1
        assert left() == []
        # Without any intent, as long as the store lists it.
        admin._create_multipart_upload(bucket.name, key, {})
        assert await store.abandon_uploads([], begun_before=datetime.now(UTC) - timedelta(hours=1)) == 0
        assert (await client.gc()).num_abandoned_uploads == 1
        others = admin._list_multipart_uploads(bucket.name, prefix="somebody/Else").uploads
        assert [item.upload_id for item in others] == [stray], "what is no key of ours is nobody's business"
    store.close()


class TakesOnce(MemoryStore):
    """Loses the first blob of a key that is asked for, as to a collector whose deletion was still under way."""

    def __init__(self, taken: str) -> None:
        super().__init__()
        self.taken: str | None = taken

    async def put_blob(self, key: str, chunks, **what) -> None:
        await super().put_blob(key, chunks, **what)
        if key == self.taken:
            self.taken = None
            await self.delete(key)


@pytest.mark.parametrize("path", ["model.json", "weights.safetensors", "card.md", "evaluation.json"])
async def test_a_publish_that_loses_a_blob_to_a_collector_is_aborted_and_its_retry_makes_the_version(
    start, make, refused, path
):
    files = make.good()
    sha256 = {file.path: file.sha256 for file in make.digests(files)}[path]
    async with start(TakesOnce(layout.blob("acme", sha256))) as registry, registry.client() as client:
        async with refused("ABORTED", "try again"):
            await client.publish(files)
        assert await client.numbers() == []
        assert (await client.publish(files)).created
