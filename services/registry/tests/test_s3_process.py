# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry on a real MinIO: served and restarted as a process, and its store killed at every step of a publish."""

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import urllib3

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.settings import Secret
from dragoman_registry.s3 import PART_BYTES, S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings
from services.registry.tests.registry_process import Home, numbers, stream

pytestmark = pytest.mark.slow

PIECE_BYTES = 2 << 20


async def download(stub, number: int, path: str) -> bytes:
    call = stub.DownloadFile(pb.DownloadFileRequest(model="r8", number=number, path=path), timeout=30)
    return b"".join([reply.data async for reply in call])


@pytest.fixture
def home_on(tmp_path):
    def make(server, bucket: str) -> Home:
        home = Home(tmp_path)
        home.settings |= {
            "STORE_URL": f"s3://{bucket}?endpoint={server.endpoint}&region={server.region}",
            "S3_ACCESS_KEY_ID": server.access_key,
            "S3_SECRET_ACCESS_KEY": server.secret_key,
        }
        return home

    return make


async def test_publish_alias_and_download_survive_a_restart_of_registry_and_store(mortal_minio, home_on, make):
    files = make.good() | {"vectors.bin": bytes(range(256)) * ((3 * PART_BYTES + 256) // 256)}
    home = home_on(mortal_minio, mortal_minio.make_bucket())
    async with home.served() as (process, stub):
        reply = await stub.PublishVersion(stream(make.upload(files, piece_bytes=PIECE_BYTES)), timeout=60)
        assert (reply.created, reply.version.number) == (True, 1)
        again = await stub.PublishVersion(stream(make.upload(files, publish_id="p2")), timeout=60)
        assert (again.created, again.version.number) == (False, 1)
        moved = await stub.SetAlias(pb.SetAliasRequest(model="r8", alias="prod", version=1), timeout=20)
        assert moved.event.sequence == 1
        process.send_signal(signal.SIGKILL)
        await process.wait()
    await asyncio.to_thread(mortal_minio.restart)
    async with home.served() as (_, stub):
        assert await numbers(stub) == [1]
        event = (await stub.GetAlias(pb.GetAliasRequest(model="r8", alias="prod"), timeout=20)).event
        assert (event.sequence, event.stable_version) == (1, 1)
        for path, data in files.items():
            assert hashlib.sha256(await download(stub, 1, path)).digest() == hashlib.sha256(data).digest(), path


async def test_a_file_is_pulled_from_the_store_by_the_url_that_the_registry_hands_out(minio, home_on, make):
    files = make.good() | {"vectors.bin": bytes(range(256)) * ((2 * PART_BYTES + 256) // 256)}
    home = home_on(minio, minio.make_bucket())
    home.settings["FILE_URL_LIFETIME_S"] = "60"
    async with home.served() as (_, stub):
        await stub.PublishVersion(stream(make.upload(files, piece_bytes=PIECE_BYTES)), timeout=60)
        request = pb.GetFileUrlRequest(model="r8", number=1, path="vectors.bin")
        reply = await stub.GetFileUrl(request, timeout=20)
        request.path = "unlisted"
        with pytest.raises(grpc.RpcError) as caught:
            await stub.GetFileUrl(request, timeout=20)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with urllib3.PoolManager() as http:
        pulled = await asyncio.to_thread(http.request, "GET", reply.url)
    assert hashlib.sha256(pulled.data).digest() == hashlib.sha256(files["vectors.bin"]).digest()
    left_s = reply.expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(0) < left_s <= timedelta(seconds=60)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"S3_SECRET_ACCESS_KEY": "wrong-secret-key"}, "credentials"),
        ({"STORE_URL": "s3://no-such-bucket?endpoint={endpoint}"}, "no-such-bucket"),
        ({"STORE_URL": "s3://bucket?endpoint=http://127.0.0.1:1", "S3_RETRIES": "0"}, "does not answer"),
    ],
)
async def test_a_store_that_cannot_be_used_ends_the_start_with_one_clear_line(minio, home_on, changes, text):
    home = home_on(minio, minio.make_bucket())
    changes = {name: value.format(endpoint=minio.endpoint) for name, value in changes.items()}
    process = await home.spawn(**changes)
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert text in stderr.decode()
    for secret in (minio.secret_key, "wrong-secret-key"):
        assert secret not in stderr.decode()
    assert not home.ready.exists()


class DiesAt:
    """A store whose server is killed when the given step begins: each call is a step, and each piece of a blob."""

    def __init__(self, store: S3Store, server) -> None:
        self._store, self._server = store, server
        self.at, self.num_steps = 0, 0

    async def _step(self) -> None:
        self.num_steps += 1
        if self.num_steps == self.at:
            await asyncio.to_thread(self._server.kill)

    async def create(self, key: str, data: bytes) -> None:
        await self._step()
        await self._store.create(key, data)

    async def put_blob(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes: int, sha256: str) -> None:
        async def counted() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                await self._step()
                yield chunk

        await self._store.put_blob(key, counted(), size_bytes=size_bytes, sha256=sha256)

    async def read(self, key: str, **where) -> bytes:
        await self._step()
        return await self._store.read(key, **where)

    async def names_below(self, prefix: str) -> list[str]:
        await self._step()
        return await self._store.names_below(prefix)

    async def presigned_url(self, key: str, *, lifetime_s: int) -> str | None:
        return await self._store.presigned_url(key, lifetime_s=lifetime_s)


async def test_the_store_killed_at_every_step_of_a_publish_lists_no_half_version_and_the_retry_makes_one(
    mortal_minio, start, make
):
    server = mortal_minio
    bucket = Bucket(name=server.make_bucket(), endpoint=server.endpoint, region=server.region)
    given = {"s3_access_key_id": Secret(server.access_key), "s3_secret_access_key": Secret(server.secret_key)}
    store = S3Store(bucket, S3Settings(**given, s3_timeout_s=5, s3_retries=0))
    files = make.good() | {"vectors.bin": bytes(range(256)) * ((3 * PART_BYTES + 256) // 256)}
    dying = DiesAt(store, server)
    num_killed = 0
    async with start(dying) as registry, registry.client() as client:
        for at in range(1, 100):
            model = f"killed-at-{at}"
            dying.at, dying.num_steps = at, 0
            messages = make.upload(files, model=model, piece_bytes=PIECE_BYTES)
            try:
                await client.send(messages)
                failed = None
            except grpc.RpcError as error:
                failed = error.code()
            # The last steps may come after the commit: then the caller is answered as if nothing had happened.
            assert failed in (None, grpc.StatusCode.UNAVAILABLE), at
            if dying.num_steps < at:
                break
            num_killed += 1
            dying.at = 0
            await asyncio.to_thread(server.start)
            async with start(store) as other, other.client() as reader:
                assert await reader.numbers(model=model) == [], at
            reply = await client.send(messages)
            assert reply.version.number == 1
            async with start(store) as other, other.client() as reader:
                assert await reader.numbers(model=model) == [1], at
                assert await reader.download(1, "vectors.bin", model=model) == files["vectors.bin"]
    store.close()
    # The intent, 8 pieces of the vectors and 4 of smaller files, 3 files read back, claim, number, version, manifest.
    assert num_killed >= 20
