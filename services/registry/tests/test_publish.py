# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A version is published once, whole, or not at all: over gRPC, with bad uploads, races and a store that fails."""

import asyncio
import hashlib
import itertools

import grpc
import pytest
from blake3 import blake3

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.errors import UnavailableError
from dragoman_events.topics import MODELS
from dragoman_models.verify import VerifyingKeys, verify_manifest
from dragoman_registry.folder import FolderStore
from dragoman_registry.memory import MemoryStore


async def test_a_published_version_is_listed_described_and_downloaded(registry, client, make):
    files = make.good() | {"vectors.bin": bytes(3_000_000)}
    reply = await client.publish(files)
    assert (reply.created, reply.version.number) == (True, 1)
    version = await client.get(1)
    assert version == reply.version
    assert list(version.labels) == list(make.labels)
    assert version.publisher == "operator:operator"
    trusted = VerifyingKeys([registry.key.public_key])
    manifest = verify_manifest(version.manifest.envelope, trusted, tenant="acme", model="r8", number=1)
    assert {file.path for file in manifest.files} == set(files)
    assert manifest.blake3_by_path == {path: blake3(data).hexdigest() for path, data in files.items()}
    for path, data in files.items():
        assert await client.download(1, path) == data
    assert await client.download(1, "vectors.bin", offset=2_999_999) == b"\0"
    assert await client.download(1, "vectors.bin", offset=3_000_000) == b""
    assert await client.numbers() == [1]


async def test_the_same_content_is_one_version_however_often_it_is_published(client, make):
    first = await client.publish(make.good(), publish_id="p1")
    again = await client.publish(make.good(), publish_id="p2")
    with_number = await client.publish(make.good(), publish_id="p3", number=7)
    assert [reply.created for reply in (first, again, with_number)] == [True, False, False]
    assert first.version == again.version == with_number.version
    assert await client.numbers() == [1]


async def test_the_event_log_hears_of_a_version_once(registry, client, make):
    for _ in range(2):
        await client.publish(make.good())
    records = registry.log.read(MODELS, 0, 10)
    assert [record.headers["ce_type"] for record in records] == [b"dragoman.events.v1.VersionPublished"]
    assert records[0].headers["ce_subject"] == b"r8/1"


async def test_a_lost_event_does_not_fail_the_publish(registry, client, make, monkeypatch):
    def refuse(*_args):
        raise UnavailableError("the log is away")

    monkeypatch.setattr(registry.log, "append", refuse)
    assert (await client.publish(make.good())).created
    assert (await client.move(1)).sequence == 1


async def test_32_racing_publishers_of_different_content_get_32_versions(client, make):
    replies = await asyncio.gather(*(client.publish(make.good(seed), publish_id=f"p{seed}") for seed in range(32)))
    assert sorted(reply.version.number for reply in replies) == list(range(1, 33))
    assert await client.numbers() == list(range(32, 0, -1))


async def test_32_racing_publishers_in_two_registries_on_one_store_get_32_versions(start, make, tmp_path):
    store = FolderStore(tmp_path)
    async with start(store) as one, start(store) as two, one.client() as first, two.client() as second:
        replies = await asyncio.gather(
            *((first, second)[seed % 2].publish(make.good(seed), publish_id=f"p{seed}") for seed in range(16))
        )
        assert len({reply.version.number for reply in replies}) == 16
        await one.catalog.scan()
        assert await first.numbers() == sorted((reply.version.number for reply in replies), reverse=True)
    store.close()


async def test_32_racing_publishers_of_one_number_have_one_winner(registry, client, make):
    outcomes = await asyncio.gather(
        *(client.publish(make.good(seed), publish_id=f"p{seed}", number=1) for seed in range(32)),
        return_exceptions=True,
    )
    winners = [reply for reply in outcomes if isinstance(reply, pb.PublishVersionResponse)]
    assert len(winners) == 1
    losers = [error.code().name for error in outcomes if isinstance(error, grpc.RpcError)]
    assert losers == ["ALREADY_EXISTS"] * 31
    assert (await client.get(1)).root_sha256 == winners[0].version.root_sha256
    assert await client.numbers() == [1]


async def test_32_racing_publishers_of_the_same_content_make_one_version(client, make):
    replies = await asyncio.gather(*(client.publish(make.good(), publish_id=f"p{n}") for n in range(32)))
    assert sum(reply.created for reply in replies) == 1
    assert {reply.version.number for reply in replies} == {1}


async def test_content_that_lost_its_number_may_be_published_again_under_another(client, make, refused):
    await client.publish(make.good(0), number=1)
    async with refused("ALREADY_EXISTS"):
        await client.publish(make.good(1), publish_id="p2", number=1)
    assert (await client.publish(make.good(1), publish_id="p2")).version.number == 2
    assert (await client.publish(make.good(2), publish_id="p3", number=9)).version.number == 9
    assert (await client.publish(make.good(3), publish_id="p4")).version.number == 10


async def test_content_that_is_held_keeps_its_version_whatever_number_was_tried_before(client, make, refused):
    await client.publish(make.good(0), number=1)
    async with refused("ALREADY_EXISTS"):
        await client.publish(make.good(1), publish_id="p2", number=1)
    held = await client.publish(make.good(1), publish_id="p2")
    for number in (1, 7, 0):
        again = await client.publish(make.good(1), publish_id="p2", number=number)
        assert (again.created, again.version) == (False, held.version)


async def test_a_publish_id_belongs_to_one_content(client, make, refused):
    await client.publish(make.good(0), publish_id="p1")
    async with refused("INVALID_ARGUMENT", "publish_id"):
        await client.publish(make.good(1), publish_id="p1")


NAMES = [
    "",
    "../x",
    "/etc",
    "%2e%2e",
    "a\0b",
    "..\\",
    "a..b",
    "\u2024\u2024",
    "\uff0fetc",
    "a" * 300,
    "-rf",
    "$(x)",
    "a\n",
    "A",
    "a/b",
    ".",
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_bad_name_is_refused_by_every_method(client, make, refused, name):
    stub = client.stub
    async with refused("INVALID_ARGUMENT"):
        await client.publish(make.good(), model=name)
    for call in (
        stub.GetVersion(pb.GetVersionRequest(model=name, number=1)),
        stub.ListVersions(pb.ListVersionsRequest(model=name)),
        stub.SetAlias(pb.SetAliasRequest(model=name, alias="prod", version=1)),
        stub.SetAlias(pb.SetAliasRequest(model="r8", alias=name, version=1)),
        stub.GetAlias(pb.GetAliasRequest(model=name, alias="prod")),
        stub.GetAlias(pb.GetAliasRequest(model="r8", alias=name)),
        stub.GetVersion(pb.GetVersionRequest(model="r8", alias=name)),
        stub.ListAliasEvents(pb.ListAliasEventsRequest(model="r8", alias=name)),
    ):
        async with refused("INVALID_ARGUMENT"):
            await call
    async with refused("INVALID_ARGUMENT"):
        await client.download(1, "model.json", model=name)
    if name:
        async with refused("INVALID_ARGUMENT"):
            await client.publish(make.good(), publish_id=name)
        async with refused("INVALID_ARGUMENT"):
            await client.move(1, request_id=name)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../b", ".git/x", "a\0", "MODEL.json", "model.json/x", "-rf"]
)
async def test_a_bad_file_name_is_refused(client, make, refused, path):
    async with refused("INVALID_ARGUMENT"):
        await client.publish(make.good() | {path: b""})
    assert await client.numbers() == []


def _without(messages, index):
    return messages[:index] + messages[index + 1 :]


def _edit_chunk(messages, index, **changes):
    edited = pb.PublishVersionRequest()
    edited.CopyFrom(messages[index])
    for name, value in changes.items():
        setattr(edited.chunk, name, value)
    return [*messages[:index], edited, *messages[index + 1 :]]


BAD_UPLOADS = {
    "no message": lambda good: [],
    "no header": lambda good: good[1:],
    "two headers": lambda good: [good[0], *good],
    "a file is missing": lambda good: good[:-1],
    "a chunk is missing": lambda good: _without(good, 2),
    "a chunk twice": lambda good: [*good[:2], good[1], *good[2:]],
    "a gap": lambda good: _edit_chunk(good, 2, offset_bytes=7),
    "a negative offset": lambda good: _edit_chunk(good, 1, offset_bytes=-1),
    "an unannounced file": lambda good: [*good, pb.PublishVersionRequest(chunk=pb.FileChunk(path="x", data=b"x"))],
    "a flipped byte": lambda good: _edit_chunk(good, 1, data=b"X" + good[1].chunk.data[1:]),
    "a byte too many": lambda good: _edit_chunk(good, -1, data=good[-1].chunk.data + b"x"),
    "interleaved files": lambda good: [good[0], good[1], good[3], good[2], *good[4:]],
    "an empty part": lambda good: [*good, pb.PublishVersionRequest()],
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_UPLOADS)
async def test_an_upload_that_is_not_as_announced_leaves_nothing_listed(client, make, refused, what):
    good = make.upload(make.good(), piece_bytes=50)
    async with refused("INVALID_ARGUMENT"):
        await client.send(BAD_UPLOADS[what](good))
    assert await client.numbers() == []
    assert (await client.send(good)).created


@pytest.mark.parametrize(
    "changes",
    [
        {"model.json": b"{}"},
        {"model.json": b"\x80\x04."},
        {"evaluation.json": b"{}"},
        {"model.json": b'{"format": "dragoman.model/1", "auto_map": {}}'},
    ],
)
async def test_a_package_that_does_not_parse_is_refused(client, make, refused, changes):
    async with refused("INVALID_ARGUMENT"):
        await client.publish(make.good() | changes)
    assert await client.numbers() == []


@pytest.mark.parametrize("path", ["model.json", "weights.safetensors", "tokenizer.json"])
async def test_a_package_without_a_needed_file_is_refused_by_its_name(client, make, refused, path):
    files = make.good()
    del files[path]
    async with refused("INVALID_ARGUMENT", path):
        await client.publish(files)


async def test_sizes_are_refused_before_a_byte_is_stored(start, make, refused):
    async with start(max_file_bytes=1000, max_version_bytes=1500) as registry, registry.client() as client:
        small = make.files()
        async with refused("INVALID_ARGUMENT", "big.bin"):
            await client.publish(small | {"big.bin": bytes(1001)})
        async with refused("INVALID_ARGUMENT", "in all"):
            await client.publish(small | {"a": bytes(900), "b": bytes(900)})
        async with refused("INVALID_ARGUMENT", "1001"):
            await client.publish(small | {f"f{n}": b"" for n in range(1001 - len(small))})
        header = pb.PublishHeader(model="r8", publish_id="p", files=make.digests(small))
        header.files[0].size_bytes = -1
        async with refused("INVALID_ARGUMENT"):
            await client.send([pb.PublishVersionRequest(header=header)])
        assert registry.store.objects == {}


async def test_uploads_beyond_the_limit_are_refused_and_a_stalled_one_ends_at_its_deadline(start, make, refused):
    class Tells(MemoryStore):
        began, ended = asyncio.Event(), asyncio.Event()

        async def put_blob(self, key, chunks, **digest):
            self.began.set()
            try:
                await super().put_blob(key, chunks, **digest)
            except asyncio.CancelledError:
                self.ended.set()
                raise

    async def stalling():
        yield make.upload(make.good())[0]
        yield make.upload(make.good())[1]
        await asyncio.Event().wait()

    store = Tells()
    async with start(store, max_concurrent_uploads=1) as registry, registry.client() as client:
        stalled = client.stub.PublishVersion(stalling(), timeout=1.0)
        await store.began.wait()
        async with refused("RESOURCE_EXHAUSTED"):
            await client.publish(make.good(1))
        async with refused("DEADLINE_EXCEEDED"):
            await stalled
        await store.ended.wait()
        assert await client.numbers() == []
        assert (await client.publish(make.good())).created


class FailsAt(MemoryStore):
    """Fails at the nth call, before or after it took effect, and at every later one until healed: a crash."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__()
        self.at, self.after, self.calls = at, after, itertools.count(1)

    async def _step(self, work):
        call = next(self.calls)
        if call > self.at or (call == self.at and not self.after):
            work.close()
            raise UnavailableError("crashed")
        result = await work
        if call == self.at:
            raise UnavailableError("crashed")
        return result

    async def create(self, key, data):
        await self._step(super().create(key, data))

    async def put_blob(self, key, chunks, **digest):
        await self._step(super().put_blob(key, chunks, **digest))

    async def read(self, key, **span):
        return await self._step(super().read(key, **span))

    async def names_below(self, prefix):
        return await self._step(super().names_below(prefix))


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_any_step_of_a_publish_shows_no_half_version_and_the_retry_makes_one(start, make, after):
    files = make.good()
    seen_failures = 0
    for at in range(1, 100):
        store = FailsAt(10_000, after=after)
        async with start(store) as registry, registry.client() as client:
            store.calls, store.at = itertools.count(1), at
            try:
                await client.publish(files)
                crashed = False
            except grpc.RpcError as error:
                crashed = error.code() is grpc.StatusCode.UNAVAILABLE
                assert crashed, error  # noqa: PT017 - whether it fails depends on the step
        store.at = 10_000_000
        async with start(store) as registry, registry.client() as client:
            before = await client.numbers()
            for number in before:
                for path, data in files.items():
                    assert await client.download(number, path) == data
            reply = await client.publish(files)
            assert reply.version.number == 1
            assert await client.numbers() == [1]
            assert reply.created is (before == [])
        seen_failures += crashed
        if not crashed:
            break
    else:
        pytest.fail("the publish never got through")
    assert seen_failures >= 12


async def test_another_tenants_versions_do_not_exist(registry, client, make, refused):
    await client.publish(make.good())
    await client.move(1)
    async with registry.client(tenant="other") as other:
        for call in (other.get(1), other.alias(), other.download(1, "model.json"), other.move(1)):
            async with refused("NOT_FOUND"):
                await call
        assert await other.numbers() == []
        assert list((await other.stub.ListModels(pb.ListModelsRequest())).models) == []
        reply = await other.publish(make.good())
        assert (reply.created, reply.version.number, reply.version.tenant) == (True, 1, "other")


async def test_a_platform_service_must_say_for_which_tenant_it_reads(registry, client, make, refused):
    await client.publish(make.good())
    async with registry.server.channel("worker") as channel:
        get = channel.unary_unary(
            "/dragoman.registry.v1.RegistryService/GetVersion",
            request_serializer=pb.GetVersionRequest.SerializeToString,
            response_deserializer=pb.GetVersionResponse.FromString,
        )
        async with refused("PERMISSION_DENIED", "tenant"):
            await get(pb.GetVersionRequest(model="r8", number=1))
        reply = await get(pb.GetVersionRequest(model="r8", number=1), metadata=(("dragoman-tenant", "acme"),))
        assert reply.version.number == 1
        async with refused("INVALID_ARGUMENT", "tenant"):
            await get(pb.GetVersionRequest(model="r8", number=1), metadata=(("dragoman-tenant", "../acme"),))


async def test_only_trainers_and_operators_publish_and_only_operators_move(registry, make, refused):
    async with registry.client("gateway") as gateway, registry.client("trainer") as trainer:
        async with refused("PERMISSION_DENIED"):
            await gateway.send([])
        async with refused("PERMISSION_DENIED"):
            await gateway.move(1)
        async with refused("PERMISSION_DENIED"):
            await trainer.move(1)
        await trainer.publish(make.good(), model="mine")


async def test_lists_come_in_pages(client, make, refused):
    for seed in range(5):
        await client.publish(make.good(seed), publish_id=f"p{seed}")
        await client.publish(make.good(), model=f"m{seed}", publish_id=f"q{seed}")
    numbers, token = [], ""
    while True:
        request = pb.ListVersionsRequest(model="r8", page_size=2, page_token=token)
        reply = await client.stub.ListVersions(request)
        numbers.append([version.number for version in reply.versions])
        if not (token := reply.next_page_token):
            break
    assert numbers == [[5, 4], [3, 2], [1]]
    first = await client.stub.ListModels(pb.ListModelsRequest(page_size=4))
    rest = await client.stub.ListModels(pb.ListModelsRequest(page_size=4, page_token=first.next_page_token))
    assert [item.model for item in (*first.models, *rest.models)] == ["m0", "m1", "m2", "m3", "m4", "r8"]
    assert rest.models[-1].num_versions == 5
    for request in (
        pb.ListVersionsRequest(model="r8", page_size=1001),
        pb.ListVersionsRequest(model="r8", page_size=-1),
        pb.ListVersionsRequest(model="r8", page_token="x"),
    ):
        async with refused("INVALID_ARGUMENT"):
            await client.stub.ListVersions(request)


async def test_a_restarted_registry_knows_what_there_was(start, make, tmp_path):
    store = FolderStore(tmp_path)
    async with start(store) as registry, registry.client() as client:
        published = await client.publish(make.good())
        moved = await client.move(1)
    store.close()
    store = FolderStore(tmp_path)
    async with start(store) as registry, registry.client() as client:
        assert await client.get(1) == published.version
        assert await client.alias() == moved
        assert await client.numbers() == [1]
    store.close()


async def test_republishing_heals_a_damaged_blob(registry, client, make, refused):
    files = make.good()
    await client.publish(files)
    key = f"tenants/acme/blobs/sha256/{hashlib.sha256(files['weights.safetensors']).hexdigest()}"
    registry.store.objects[key] = b"damaged"
    async with refused("DATA_LOSS", "acme/r8/versions/1/weights.safetensors"):
        await client.download(1, "weights.safetensors")
    assert not (await client.publish(files)).created
    assert await client.download(1, "weights.safetensors") == files["weights.safetensors"]


async def test_content_that_is_being_published_under_one_number_is_not_given_another(registry, client, make, refused):
    await client.publish(make.good(0))
    root = (await client.publish(make.good(1), publish_id="p2")).version.root_sha256
    # As if that publish had been cut off between its claim and its commit, and its registry had died.
    del registry.store.objects["tenants/acme/models/r8/versions/2"]
    registry.catalog._tenants.clear()
    assert f"tenants/acme/models/r8/by-digest/{root}" in registry.store.objects
    async with refused("ABORTED", "as version 2"):
        await client.publish(make.good(1), publish_id="p3", number=5)
    assert (await client.publish(make.good(1), publish_id="p4")).version.number == 2


async def test_a_manifest_too_large_for_a_message_is_refused_and_large_ones_page_by_bytes(client, make, refused):
    labels = tuple(f"{n:04d}" + "\U0001f600" * 100 for n in range(2000))
    messages = make.upload(make.files(labels=labels), publish_id="p0")
    messages[0].header.lineage.recipe = "\U0001f600" * 65536
    async with refused("INVALID_ARGUMENT", "manifest would have"):
        await client.send(messages)
    for seed in range(4):
        await client.publish(make.files(b"%d" % seed, labels=labels), publish_id=f"p{seed + 1}")
    numbers, token, pages = [], "", 0
    while True:
        reply = await client.stub.ListVersions(pb.ListVersionsRequest(model="r8", page_token=token))
        numbers += [version.number for version in reply.versions]
        pages += 1
        if not (token := reply.next_page_token):
            break
    assert numbers == [4, 3, 2, 1]
    assert 1 < pages <= 4
