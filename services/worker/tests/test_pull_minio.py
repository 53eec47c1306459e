# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Pulls from a real registry on a real MinIO: by URL, over TLS, when URLs expire, when the store dies on the way."""

import asyncio
import hashlib
import json
import logging
import threading
from contextlib import AsyncExitStack

import numpy as np
import pytest

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.channel import connect
from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_models.verify import VerifyingKeys, verify_manifest
from dragoman_worker import file_url
from dragoman_worker.cache import Cache
from dragoman_worker.file_url import PART_BYTES, FileUrlReader
from dragoman_worker.loader import Loader
from dragoman_worker.registry_client import RegistryClient
from services.registry.tests.registry_process import Home
from services.registry.tests.test_s3_tls import certificate
from tests.parts import minio as minio_part

pytestmark = pytest.mark.slow

DATA = np.random.default_rng(3).bytes(6 * PART_BYTES + 77)


async def upload(files):
    listed = [
        signed_pb2.FileDigest(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in files.items()
    ]
    yield pb.PublishVersionRequest(header=pb.PublishHeader(model="r8", publish_id="p1", files=listed))
    for path, data in files.items():
        for start in range(0, len(data), 1 << 20):
            chunk = pb.FileChunk(path=path, offset_bytes=start, data=data[start : start + (1 << 20)])
            yield pb.PublishVersionRequest(chunk=chunk)


@pytest.fixture
async def setting(tmp_path, linear_package):
    """A registry process on a MinIO of its own with one version in it; yields how to start, and a loader to use."""
    async with AsyncExitStack() as stack:

        async def start(*, is_tls: bool = False, ca_file=None, **settings):
            certificates = tmp_path / "certificates" if is_tls else None
            if certificates:
                certificate(certificates)
            server = minio_part.required(
                lambda: stack.enter_context(
                    minio_part.running(tmp_path / "minio", certificates=certificates, killable=True)
                )
            )
            home = Home(tmp_path)
            home.keys.key("worker").save(tmp_path)
            home.settings |= {
                "STORE_URL": f"s3://{server.make_bucket()}?endpoint={server.endpoint}&region={server.region}",
                "S3_ACCESS_KEY_ID": server.access_key,
                "S3_SECRET_ACCESS_KEY": server.secret_key,
                **({"S3_CA_FILE": str(certificates / "public.crt")} if certificates else {}),
                **settings,
            }
            _, operator = await stack.enter_async_context(home.served())
            files = {path: data for path, data in linear_package(1).items() if path != "evaluation.json"}
            await operator.PublishVersion(upload(files | {"vectors.bin": DATA}), timeout=60)
            target = f"127.0.0.1:{json.loads(home.ready.read_bytes())['port']}"
            channel = await stack.enter_async_context(
                connect(target, audience="registry", tokens=home.keys.tokens("worker"))
            )
            registry = RegistryClient(channel, FileUrlReader(ca_file and tmp_path / ca_file))
            envelopes = await registry.version("acme", "r8", 1)
            keys = VerifyingKeys.load(tmp_path / "signing.pub")
            manifest = verify_manifest(envelopes.manifest, keys, tenant="acme", model="r8", number=1)
            cache = Cache(tmp_path / "cache", max_bytes=1 << 30)
            stack.callback(cache.close)
            return server, registry, Loader(registry, cache), manifest

        yield start


@pytest.fixture
def routes(monkeypatch):
    """How many bytes came which way: by URL, and through the registry."""
    found = {"url": 0, "registry": 0}
    pull, download = RegistryClient.pull, RegistryClient.download

    async def counted_pull(self, *where, append, **how):
        def counted(part):
            found["url"] += len(part)
            append(part)

        return await pull(self, *where, append=counted, **how)

    async def counted_download(self, tenant, model, number, path, offset_bytes):
        async for chunk in download(self, tenant, model, number, path, offset_bytes):
            found["registry"] += len(chunk) if path == "vectors.bin" else 0
            yield chunk

    monkeypatch.setattr(RegistryClient, "pull", counted_pull)
    monkeypatch.setattr(RegistryClient, "download", counted_download)
    return found


async def pulled_right(loader, manifest) -> bool:
    folder = (await loader.prepare(manifest)).folder
    content = await asyncio.to_thread((folder / "vectors.bin").read_bytes)
    return hashlib.sha256(content).digest() == hashlib.sha256(DATA).digest()


async def test_large_file_comes_from_the_store_and_its_url_is_in_no_log(setting, routes, caplog):
    caplog.set_level(logging.DEBUG)
    _, _, loader, manifest = await setting()
    assert await pulled_right(loader, manifest)
    assert routes == {"url": len(DATA), "registry": 0}
    assert "X-Amz" not in caplog.text


@pytest.mark.parametrize("ca_file", ["certificates/public.crt", None])
async def test_store_over_tls_is_read_if_its_authority_is_known_and_else_through_the_registry(
    setting, routes, ca_file, caplog
):
    caplog.set_level(logging.DEBUG)
    _, _, loader, manifest = await setting(is_tls=True, ca_file=ca_file)
    assert await pulled_right(loader, manifest)
    assert routes == ({"url": len(DATA), "registry": 0} if ca_file else {"url": 0, "registry": len(DATA)})
    assert "X-Amz" not in caplog.text


async def test_url_that_expires_on_the_way_is_followed_by_the_next(setting, routes, monkeypatch):
    _, _, loader, manifest = await setting(FILE_URL_LIFETIME_S="2")
    num_parts = num_urls = 0
    pull = RegistryClient.pull

    async def slow_pull(self, *where, append, **how):
        nonlocal num_urls
        num_urls += 1

        def slow(part):
            nonlocal num_parts
            num_parts += 1
            if num_parts == 1:
                # The store's clock decides, and nothing here can move it: this is the URL's life.
                threading.Event().wait(3.1)
            append(part)

        return await pull(self, *where, append=slow, **how)

    monkeypatch.setattr(RegistryClient, "pull", slow_pull)
    assert await pulled_right(loader, manifest)
    # On a machine that is slow enough the next URL expires, too; no byte comes twice all the same.
    assert routes["url"] + routes["registry"] == len(DATA)
    assert routes["url"] >= PART_BYTES
    assert num_urls >= 2


async def test_store_killed_in_the_middle_of_a_pull_fails_the_load_and_the_next_one_is_whole(
    setting, monkeypatch, tmp_path
):
    server, _, loader, manifest = await setting(S3_RETRIES="0")
    monkeypatch.setattr(file_url, "SILENCE_S", 2.0)
    pull = RegistryClient.pull

    async def deadly_pull(self, *where, append, **how):
        def deadly(part):
            server.kill()
            append(part)

        return await pull(self, *where, append=deadly, **how)

    with monkeypatch.context() as patch:
        patch.setattr(RegistryClient, "pull", deadly_pull)
        with pytest.raises(UnavailableError) as caught:
            await loader.prepare(manifest)
    assert "X-Amz" not in str(caught.value)
    assert list((tmp_path / "cache" / "incoming").iterdir()) == []
    assert len(DATA) not in {blob.stat().st_size for blob in (tmp_path / "cache" / "sha256").iterdir()}
    await asyncio.to_thread(server.start)
    assert await pulled_right(loader, manifest)


async def test_bytes_changed_behind_the_registrys_back_are_data_loss(setting, tmp_path):
    server, _, loader, manifest = await setting()
    admin = server.admin()
    (bucket,) = [one.name for one in admin.list_buckets()]
    (sha256,) = [file.sha256 for file in manifest.files if file.path == "vectors.bin"]
    changed = tmp_path / "changed"
    changed.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    admin.fput_object(bucket, f"tenants/acme/blobs/sha256/{sha256}", str(changed))
    with pytest.raises(DataLossError, match=r"acme/r8/versions/1/vectors\.bin"):
        await loader.prepare(manifest)
