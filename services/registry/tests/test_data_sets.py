# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets and checkpoints over gRPC, on a store in memory, in a folder and on MinIO; and against who writes to it."""

import asyncio
import hashlib
import json
from datetime import timedelta

import grpc
import pytest

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import data_pb2 as pb
from dragoman_common.settings import Secret
from dragoman_common.testing import FakeClock
from dragoman_models.data_set import data_sha256
from dragoman_models.file_digest import FileDigest
from dragoman_models.signing import SigningKey
from dragoman_models.verify import VerifyingKeys
from dragoman_registry import layout
from dragoman_registry.checkpoint_book import CheckpointBook
from dragoman_registry.folder import FolderStore
from dragoman_registry.memory import MemoryStore
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings

FILES = {"train.csv": b"text,label\n" + b"a,b\n" * 1000, "test.csv": b"text,label\nc,d\n", "empty.txt": b""}
JOB = "job-" + "0" * 32
Code = grpc.StatusCode


@pytest.fixture(params=["memory", "folder", "minio"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore()
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    minio = request.getfixturevalue("minio")
    settings = S3Settings(s3_access_key_id=Secret(minio.access_key), s3_secret_access_key=Secret(minio.secret_key))
    return S3Store(Bucket(name=minio.make_bucket(), endpoint=minio.endpoint, region=minio.region), settings)


def digests(files):
    return [
        signed_pb2.FileDigest(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in files.items()
    ]


def upload(files, name="r8", told=None):
    messages = [pb.PutDataSetRequest(header=pb.DataSetHeader(name=name, files=told or digests(files)))]
    for path, data in files.items():
        for start in range(0, len(data), 1000):
            chunk = pb.DataChunk(path=path, offset_bytes=start, data=data[start : start + 1000])
            messages.append(pb.PutDataSetRequest(chunk=chunk))
    return messages


async def put(stub, files, name="r8", told=None):
    return await stub.PutDataSet(iter(upload(files, name, told)), timeout=20)


async def fetched(stub, found):
    files = {}
    for file in found.files:
        request = pb.DownloadDataFileRequest(name=found.name, sha256=found.sha256, path=file.path)
        files[file.path] = b"".join([part.data async for part in stub.DownloadDataFile(request, timeout=20)])
    return files


async def newest(stub, name="r8", sha256=""):
    return (await stub.GetDataSet(pb.GetDataSetRequest(name=name, sha256=sha256), timeout=20)).data_set


async def refused(call, *codes):
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    assert failure.value.code() in codes, failure.value
    return failure.value.details()


async def test_what_was_put_is_got_and_putting_it_again_adds_nothing(start, store):
    async with start(store) as registry, registry.data() as stub:
        first = await put(stub, FILES)
        again = await put(stub, FILES)
        other = await put(stub, FILES | {"test.csv": b"other"})
        back = await put(stub, FILES)

        assert [reply.created for reply in (first, again, other, back)] == [True, False, True, True]
        assert [reply.data_set.number for reply in (first, again, other, back)] == [1, 1, 2, 3]
        assert first.data_set.sha256 == back.data_set.sha256 != other.data_set.sha256
        assert await newest(stub) == back.data_set
        assert await newest(stub, sha256=other.data_set.sha256) == other.data_set
        for found in (back.data_set, other.data_set):
            assert (await fetched(stub, found))["train.csv"] == FILES["train.csv"]
        assert await fetched(stub, back.data_set) == FILES
    async with start(store) as registry, registry.job_data(JOB) as stub:
        assert await fetched(stub, await newest(stub)) == FILES


async def test_the_digest_is_of_names_sizes_and_contents(start):
    async with start() as registry, registry.data() as stub:
        found = (await put(stub, FILES)).data_set
        renamed = (await put(stub, {"train.csv": FILES["train.csv"], "dev.csv": FILES["test.csv"]})).data_set

    listed = [FileDigest(path=f.path, size_bytes=f.size_bytes, sha256=f.sha256) for f in found.files]
    assert found.sha256 == data_sha256(listed[::-1]) != renamed.sha256


async def test_racing_puts_make_one_data_set_each_and_lose_none(start, store):
    contents = [{"train.csv": b"%d" % (number % 4)} for number in range(16)]
    async with start(store) as one, start(store) as two, one.data() as first, two.data() as second:
        replies = await asyncio.gather(
            *(put(stub, files) for stub, files in zip([first, second] * 8, contents, strict=True))
        )
        numbers = {reply.data_set.number for reply in replies if reply.created}
        assert numbers == set(range(1, len(numbers) + 1))
        for reply, files in zip(replies, contents, strict=True):
            assert await fetched(first, await newest(first, sha256=reply.data_set.sha256)) == files


async def test_another_tenant_sees_nothing_and_lists_are_by_name(start):
    async with start() as registry, registry.data() as stub, registry.data(tenant="bolt") as other:
        for name in ("b", "a", "c"):
            await put(stub, FILES, name)
        await refused(newest(other, "a"), Code.NOT_FOUND)
        assert not (await other.ListDataSets(pb.ListDataSetsRequest())).data_sets

        page = await stub.ListDataSets(pb.ListDataSetsRequest(page_size=2))
        rest = await stub.ListDataSets(pb.ListDataSetsRequest(page_size=2, page_token=page.next_page_token))
        assert [found.name for found in [*page.data_sets, *rest.data_sets]] == ["a", "b", "c"]
        assert not rest.next_page_token


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"train.csv": b"ab"}, {"train.csv": b"ac"}),
        ({"train.csv": b"abc"}, {"train.csv": b"ab"}),
        ({"train.csv": b"a"}, {"train.csv": b"ab"}),
        ({"train.csv": b"ab", "other": b"x"}, {"train.csv": b"ab"}),
        ({}, {"train.csv": b"ab"}),
        ({"sub/train.csv": b"ab"}, {"sub/train.csv": b"ab"}),
        ({"../train.csv": b"ab"}, {"../train.csv": b"ab"}),
        ({".git": b"ab"}, {".git": b"ab"}),
    ],
)
async def test_an_upload_that_is_not_what_it_says_leaves_nothing(start, files, told):
    async with start() as registry, registry.data() as stub:
        await refused(put(stub, files, told=digests(told)), Code.INVALID_ARGUMENT)
        await refused(newest(stub), Code.NOT_FOUND)


async def test_who_may_not_put_or_see_is_refused(start):
    async with start() as registry, registry.job_data(JOB) as job, registry.data("worker") as worker:
        await refused(put(job, FILES), Code.PERMISSION_DENIED)
        await refused(newest(worker), Code.PERMISSION_DENIED)
        async with registry.data() as operator:
            await refused(operator.DropCheckpoints(pb.DropCheckpointsRequest()), Code.PERMISSION_DENIED)


async def test_garbage_collection_keeps_data_sets_and_takes_what_no_one_lists(start, store):
    async with start(store, gc_wait_s=0.0, intent_lifetime_s=0.0) as registry, registry.data() as stub:
        await put(stub, FILES)
        stray = b"nobody's"
        key = layout.blob("acme", hashlib.sha256(stray).hexdigest())

        async def content():
            yield stray

        await store.put_blob(key, content(), size_bytes=len(stray), sha256=hashlib.sha256(stray).hexdigest())
        async with registry.client() as client:
            for _ in range(2):
                await client.gc()

        assert await fetched(stub, await newest(stub)) == FILES
        assert key not in await store.tags_below(layout.blobs("acme"))


async def test_a_store_that_was_written_to_gives_no_wrong_byte(start, tmp_path):
    store = FolderStore(tmp_path / "store")
    async with start(store) as registry, registry.data() as stub:
        mine = (await put(stub, FILES)).data_set
        await put(stub, {"train.csv": b"other"}, "other")
        path = tmp_path / "store" / layout.blob("acme", hashlib.sha256(FILES["train.csv"]).hexdigest())
        path.write_bytes(FILES["train.csv"].replace(b"a", b"z", 1))
        await refused(fetched(stub, mine), Code.DATA_LOSS)

        # Another name's record, or one that somebody else signed, in this one's place.
        here = tmp_path / "store" / layout.data_set("acme", "r8", 1)
        there = tmp_path / "store" / layout.data_set("acme", "other", 1)
        kept = here.read_bytes()
        for forged in (there.read_bytes(), b"{}", kept.replace(b'"sig":"M', b'"sig":"N')):
            here.write_bytes(forged)
            await refused(newest(stub), Code.DATA_LOSS)


async def test_data_sets_outlive_the_key_that_signed_them(start):
    store, old, new = MemoryStore(), SigningKey.generate(), SigningKey.generate()
    async with start(store, key=old) as registry, registry.data() as stub:
        await put(stub, FILES)
    both = VerifyingKeys([old.public_key, new.public_key])
    async with start(store, key=new, trusted=both) as registry:
        assert await registry.parts.resigner.run() == 1
        assert await registry.parts.resigner.run() == 0


def checkpoint(content, step):
    told = pb.Checkpoint(step=step, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return iter([pb.PutCheckpointRequest(checkpoint=told), pb.PutCheckpointRequest(data=content)])


async def save(stub, content, step):
    await stub.PutCheckpoint(checkpoint(content, step), timeout=20)


async def load(stub, before_step=0):
    parts = [part async for part in stub.GetCheckpoint(pb.GetCheckpointRequest(before_step=before_step), timeout=20)]
    return parts[0].checkpoint.step, b"".join(part.data for part in parts[1:])


async def test_the_newest_checkpoint_of_a_job_is_got_and_two_are_kept(start, store):
    async with start(store) as registry, registry.job_data(JOB) as stub:
        await refused(load(stub), Code.NOT_FOUND)
        for step in (5, 10, 100):
            await save(stub, b"state %d" % step * 100_000, step)
        assert await load(stub) == (100, b"state 100" * 100_000)
        assert await load(stub, 100) == (10, b"state 10" * 100_000)
        await refused(load(stub, 10), Code.NOT_FOUND)
        assert len(await store.names_below(layout.checkpoint_contents("acme", JOB))) == 2

        await stub.DropCheckpoints(pb.DropCheckpointsRequest())
        await refused(load(stub), Code.NOT_FOUND)
        assert not await store.tags_below(f"{layout.checkpoints('acme')}/{JOB}")


async def test_two_pods_of_a_job_keep_one_checkpoint_a_step(start):
    async with start() as registry, registry.job_data(JOB) as one, registry.job_data(JOB) as two:
        await asyncio.gather(save(one, b"same", 5), save(two, b"same", 5))
        await save(two, b"another", 5)
        assert await load(one) == (5, b"same")


async def test_a_checkpoint_is_its_jobs_alone_and_whole_or_absent(start, tmp_path):
    store = FolderStore(tmp_path / "store")
    other_job = JOB.replace("0", "1")
    async with (
        start(store, max_checkpoint_bytes=1000) as registry,
        registry.job_data(JOB) as stub,
        registry.job_data(other_job) as other,
        registry.job_data(JOB, tenant="bolt") as elsewhere,
    ):
        await save(stub, b"one", 1)
        await save(stub, b"two", 2)
        for stranger in (other, elsewhere):
            await refused(load(stranger), Code.NOT_FOUND)
        told = pb.Checkpoint(step=3, size_bytes=4, sha256=hashlib.sha256(b"four").hexdigest())
        for data in (b"fou", b"fourr", b"flur"):
            torn = [pb.PutCheckpointRequest(checkpoint=told), pb.PutCheckpointRequest(data=data)]
            await refused(stub.PutCheckpoint(iter(torn), timeout=20), Code.INVALID_ARGUMENT)
        await refused(stub.PutCheckpoint(checkpoint(b"x" * 1001, 3), timeout=20), Code.INVALID_ARGUMENT)
        assert await load(stub) == (2, b"two")

        # A damaged content is said to be; one of another job is none, so the one before it counts.
        content = tmp_path / "store" / layout.checkpoint_content("acme", JOB, hashlib.sha256(b"two").hexdigest())
        content.write_bytes(b"owt")
        await refused(load(stub), Code.DATA_LOSS)
        assert await load(stub, 2) == (1, b"one")
        await save(other, b"theirs", 7)
        theirs = tmp_path / "store" / layout.checkpoint_record("acme", other_job, 7)
        (tmp_path / "store" / layout.checkpoint_record("acme", JOB, 7)).write_bytes(theirs.read_bytes())
        record = json.loads(theirs.read_text())
        (tmp_path / "store" / layout.checkpoint_record("acme", JOB, 8)).write_text(json.dumps(record | {"payload": ""}))
        await refused(load(stub), Code.DATA_LOSS)
        assert await load(stub, 2) == (1, b"one")


async def test_what_abandoned_jobs_left_goes_after_its_lifetime():
    clock, store, key = FakeClock(), MemoryStore(), SigningKey.generate()
    book = CheckpointBook(
        store=store, keys=VerifyingKeys([key.public_key]), key=key, clock=clock, lifetime_s=86_400, max_bytes=1000
    )

    async def saved(job, step):
        async def content():
            yield b"state"

        digest = hashlib.sha256(b"state").hexdigest()
        await book.put("acme", job, step=step, size_bytes=5, sha256=digest, chunks=content())

    await saved("job-a", 1)
    clock.advance(timedelta(hours=20).total_seconds())
    await saved("job-b", 1)
    assert await store.names_below(layout.checkpoints("acme")) == ["job-a", "job-b"]
    clock.advance(timedelta(hours=5).total_seconds())
    await saved("job-b", 2)
    assert await store.names_below(layout.checkpoint_records("acme", "job-a")) == []
    assert await store.names_below(layout.checkpoint_records("acme", "job-b")) == ["1", "2"]
