# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A store without room: the caller hears what to do, nothing half-written is listed, and room is all that it takes.

The disks are real: file systems in memory, of 4 MiB for a folder (where uploads are spooled, too), of 64 MiB for MinIO.
"""

import hashlib
import os
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.settings import Secret
from dragoman_registry.folder import FolderStore
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings
from services.registry.tests.registry_process import Home, numbers, stream
from tests.parts import minio as minio_part
from tests.parts.minio import required

pytestmark = pytest.mark.slow

MIB = 1 << 20
PAGE = 4096


@contextmanager
def mounted(folder: Path, num_bytes: int) -> Iterator[Path]:
    """A file system of that size; skipped where it cannot be mounted, but never as root in CI."""
    folder.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        problem = done.stderr.strip() if done.returncode else ""
    except FileNotFoundError as error:
        problem = str(error)
    if problem:
        assert not (os.environ.get("CI") and os.geteuid() == 0), problem
        pytest.skip(f"a tmpfs cannot be mounted here: {problem}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", 4 * MIB) as folder:
        yield folder


@contextmanager
def filled(disk: Path, *, but: int = 0) -> Iterator[None]:
    """Leave no room for the length of the block, but so many bytes."""
    state = os.statvfs(disk)
    file = disk / "filler"
    file.write_bytes(bytes(max(0, state.f_bavail * state.f_bsize - but)))
    try:
        yield
    finally:
        file.unlink()


@asynccontextmanager
async def open_folder(root: Path) -> AsyncIterator[FolderStore]:
    store = FolderStore(root)
    try:
        yield store
    finally:
        store.close()


def large(make, seed: int, num_bytes: int) -> dict[str, bytes]:
    return make.good(seed) | {"vectors.bin": random.Random(seed).randbytes(num_bytes)}


async def full(call) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "the store is full" in caught.value.details()
    assert "dragoman gc" in caught.value.details()


async def test_a_registry_on_a_full_disk_lives_serves_and_goes_on_when_there_is_room(disk, tmp_path, make):
    home = Home(tmp_path)
    home.settings["STORE_URL"] = f"file://{disk}/store"
    too_large, right = large(make, 1, 6 * MIB), large(make, 2, MIB)

    def publish(files, publish_id):
        return stub.PublishVersion(stream(make.upload(files, publish_id=publish_id, piece_bytes=MIB)), timeout=30)

    move = pb.SetAliasRequest(model="r8", alias="prod", version=1, request_id="q1")
    async with home.served() as (process, stub):
        await publish(make.good(0), "p0")
        await full(publish(too_large, "p1"))
        assert list((disk / "store" / ".tmp").iterdir()) == []
        with filled(disk):
            await full(stub.SetAlias(move, timeout=20))
            await full(publish(right, "p2"))
            assert await numbers(stub) == [1]
            request = pb.DownloadFileRequest(model="r8", number=1, path="weights.safetensors")
            data = b"".join([reply.data async for reply in stub.DownloadFile(request, timeout=20)])
            assert data == make.good(0)["weights.safetensors"]
            with pytest.raises(grpc.RpcError, match="does not exist"):
                await stub.GetAlias(pb.GetAliasRequest(model="r8", alias="prod"), timeout=20)
        assert process.returncode is None
        assert (await stub.SetAlias(move, timeout=20)).event.sequence == 1
        assert (await publish(right, "p2")).version.number == 2
        with pytest.raises(grpc.RpcError):
            await publish(too_large, "p1")
    async with home.served() as (_, stub):
        assert await numbers(stub) == [2, 1]
        assert (await stub.GetAlias(pb.GetAliasRequest(model="r8", alias="prod"), timeout=20)).event.sequence == 1


async def test_wherever_a_publish_runs_out_of_room_nothing_is_listed_and_the_retry_makes_one_version(disk, start, make):
    num_failed = 0
    async with open_folder(disk / "store") as store, start(store) as registry, registry.client() as client:
        await client.publish(make.good(), model="warm")
        for pages in range(64):
            model, files = f"m{pages}", large(make, pages, 8 * PAGE)
            try:
                with filled(disk, but=pages * PAGE):
                    await client.publish(files, model=model)
                break
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE, error.details()  # noqa: PT017 - the last one passes
                assert "the store is full" in error.details()  # noqa: PT017
            num_failed += 1
            async with start(store) as other, other.client() as reader:
                assert await reader.numbers(model=model) == [], pages
            assert list((disk / "store" / ".tmp").iterdir()) == []
            for blob in (disk / "store" / "tenants" / "acme" / "blobs" / "sha256").iterdir():
                assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, pages
            assert (await client.publish(files, model=model)).version.number == 1
            for path, data in files.items():
                assert await client.download(1, path, model=model) == data
        else:
            pytest.fail("64 pages were not enough")
    # Pages: one for the intent, eight for the vectors, one for each smaller file, the claim and the version.
    assert num_failed >= 10


async def test_a_minio_without_room_is_told_as_such_and_goes_on_when_there_is_some(tmp_path, start, make):
    with ExitStack() as stack:
        disk = stack.enter_context(mounted(tmp_path / "disk", 64 * MIB))
        server = required(lambda: stack.enter_context(minio_part.running(disk / "minio", process=True)))
        bucket = Bucket(name=server.make_bucket(), endpoint=server.endpoint, region=server.region)
        given = {"s3_access_key_id": Secret(server.access_key), "s3_secret_access_key": Secret(server.secret_key)}
        store = S3Store(bucket, S3Settings(**given, s3_retries=0))
        stack.callback(store.close)
        files = large(make, 1, 2 * MIB)
        async with start(store) as registry, registry.client() as client:
            await client.publish(make.good(0), publish_id="p0")
            with filled(disk):
                await full(client.publish(files, publish_id="p1"))
                assert await client.numbers() == [1]
                assert await client.download(1, "model.json") == make.good(0)["model.json"]
            assert (await client.publish(files, publish_id="p1")).version.number == 2
            assert await client.download(2, "vectors.bin") == files["vectors.bin"]
