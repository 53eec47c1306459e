# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The S3 store on a real MinIO: the port's contract, and what only a bucket can do to it."""

import asyncio
import hashlib
import io
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from dragoman_common.errors import InvalidArgumentError, UnavailableError
from dragoman_common.settings import Secret
from dragoman_registry.contracts import BLOB, DATA, KEY, SHA256, ObjectStoreContract, stream
from dragoman_registry.folder import FolderStore
from dragoman_registry.memory import MemoryStore
from dragoman_registry.ports import BlobMismatchError, ObjectExistsError, ObjectNotFoundError
from dragoman_registry.s3 import PART_BYTES, S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings
from dragoman_registry.settled import probe

pytestmark = pytest.mark.slow

MIB = 1 << 20


@contextmanager
def opened(server, bucket: str, **changes) -> Iterator[S3Store]:
    settings = S3Settings(
        **{
            "s3_access_key_id": Secret(server.access_key),
            "s3_secret_access_key": Secret(server.secret_key),
            "s3_timeout_s": 10.0,
        }
        | changes
    )
    store = S3Store(Bucket(name=bucket, endpoint=server.endpoint, region=server.region), settings)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def bucket(minio) -> str:
    return minio.make_bucket()


@pytest.fixture
def store(minio, bucket):
    with opened(minio, bucket) as store:
        yield store


class TestS3Store(ObjectStoreContract):
    """On MinIO."""


def unfinished(minio, bucket: str, key: str) -> list[str]:
    return [item.upload_id for item in minio.admin()._list_multipart_uploads(bucket, prefix=key).uploads]


def big(num_parts: float) -> bytes:
    return bytes(range(256)) * int(num_parts * PART_BYTES / 256)


async def in_pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), MIB):
        yield data[start : start + MIB]


async def test_32_racing_creators_have_one_winner_20_times(store):
    for turn in range(20):
        key = f"race/{turn}"
        outcomes = await asyncio.gather(
            *(store.create(key, str(number).encode()) for number in range(32)), return_exceptions=True
        )
        winners = [number for number, outcome in enumerate(outcomes) if outcome is None]
        assert len(winners) == 1
        assert sum(isinstance(outcome, ObjectExistsError) for outcome in outcomes) == 31
        assert await store.read(key) == str(winners[0]).encode()


@pytest.mark.parametrize("num_parts", [1, 1.5, 2, 3.25])
async def test_a_blob_of_many_parts_comes_back_whole_and_in_ranges(store, minio, bucket, num_parts):
    data = big(num_parts)
    await store.put_blob(BLOB, in_pieces(data), size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert await store.read(BLOB) == data
    assert await store.read(BLOB, offset=PART_BYTES - 3, length=6) == data[PART_BYTES - 3 :][:6]
    assert unfinished(minio, bucket, BLOB) == []


async def test_a_blob_of_many_parts_with_a_wrong_digest_never_appears_and_leaves_no_part(store, minio, bucket):
    data = big(2.5)
    with pytest.raises(BlobMismatchError):
        await store.put_blob(BLOB, in_pieces(data), size_bytes=len(data), sha256=SHA256)
    with pytest.raises(ObjectNotFoundError):
        await store.read(BLOB)
    assert unfinished(minio, bucket, BLOB) == []


async def test_a_wrong_upload_does_not_harm_the_right_blob_under_the_key(store):
    data = big(2.5)
    sha256 = hashlib.sha256(data).hexdigest()
    await store.put_blob(BLOB, in_pieces(data), size_bytes=len(data), sha256=sha256)
    with pytest.raises(BlobMismatchError):
        await store.put_blob(BLOB, in_pieces(bytes(len(data))), size_bytes=len(data), sha256=sha256)
    assert await store.read(BLOB) == data


async def test_a_damaged_blob_is_healed_by_the_next_upload(store, minio, bucket):
    minio.admin().put_object(bucket, BLOB, io.BytesIO(b"damaged"), 7)
    await store.put_blob(BLOB, stream(DATA), size_bytes=10, sha256=SHA256)
    assert await store.read(BLOB) == DATA


async def test_an_upload_cancelled_after_some_parts_leaves_no_part(store, minio, bucket):
    data = big(3)
    stalled = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield data[: 2 * PART_BYTES]
        yield data[2 * PART_BYTES : -1]
        stalled.set()
        await asyncio.Event().wait()

    sha256 = hashlib.sha256(data).hexdigest()
    upload = asyncio.create_task(store.put_blob(BLOB, stalling(), size_bytes=len(data), sha256=sha256))
    await stalled.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert unfinished(minio, bucket, BLOB) == []


async def test_names_that_are_none_of_ours_do_not_hide_the_others(store, minio, bucket):
    await store.create("tenants/acme/models/r8/versions/1", DATA)
    for name in ("\x01", "ü", ".git/config", "UPPER", "a b", "..x", "%2e%2e", "&lt;"):
        minio.admin().put_object(bucket, f"tenants/acme/models/{name}", io.BytesIO(b"x"), 1)
    assert await store.names_below("tenants/acme/models") == ["r8"]


async def test_more_names_than_one_page_are_all_listed(store, minio, bucket):
    await asyncio.gather(*(store.create(f"names/{number}", b"x") for number in range(1005)))
    assert len(await store.names_below("names")) == 1005


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "a//b", "", "a/\0", "a/\n", "A/b", "%2e%2e"])
async def test_no_key_is_sent_that_the_port_does_not_allow(store, key):
    for attempt in (store.create(key, DATA), store.read(key), store.names_below(key)):
        with pytest.raises(InvalidArgumentError):
            await attempt


async def test_a_presigned_url_reads_the_blob_without_credentials_and_nothing_else(store, minio):
    data = big(2.5)
    await store.put_blob(BLOB, in_pieces(data), size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    url = await store.presigned_url(BLOB, lifetime_s=60)
    assert minio.secret_key not in url
    with urllib3.PoolManager() as http:
        assert hashlib.sha256(http.request("GET", url).data).digest() == hashlib.sha256(data).digest()
        assert http.request("GET", url, headers={"Range": "bytes=5-7"}).data == data[5:8]
        assert http.request("GET", url.partition("?")[0]).status == 403
        assert http.request("GET", url.replace(SHA256[:8], "00000000")).status == 403
        assert http.request("PUT", url, body=b"x").status == 403


async def test_a_presigned_url_ends(store):
    await store.create(KEY, DATA)
    url = await store.presigned_url(KEY, lifetime_s=1)
    ends_s = time.monotonic() + 15
    with urllib3.PoolManager() as http:
        while http.request("GET", url).status != 403:
            assert time.monotonic() < ends_s


async def test_stores_that_presign_nothing_say_so(tmp_path):
    folder = FolderStore(tmp_path)
    assert await folder.presigned_url(KEY, lifetime_s=1) is None
    assert await MemoryStore().presigned_url(KEY, lifetime_s=1) is None
    folder.close()


async def test_objects_and_blobs_are_encrypted_where_the_setting_asks(minio, bucket):
    if not minio.can_be_killed:
        pytest.skip("whether another's server has a key to encrypt with is not known")
    data = big(2)
    with opened(minio, bucket, s3_encryption="AES256") as store:
        await store.create(KEY, DATA)
        await store.put_blob(BLOB, in_pieces(data), size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        assert (await store.read(KEY), await store.read(BLOB)) == (DATA, data)
    for key in (KEY, BLOB):
        found = minio.admin().stat_object(bucket, key).metadata
        assert found["x-amz-server-side-encryption"] == "AES256"


async def test_wrong_credentials_are_named_without_the_secret(minio, bucket, caplog):
    caplog.set_level(logging.DEBUG)
    with opened(minio, bucket, s3_secret_access_key=Secret("not-the-secret-key")) as store:
        for attempt in (store.create(KEY, DATA), store.read(KEY), store.names_below("tenants"), probe(store, "probe")):
            with pytest.raises(UnavailableError, match="credentials") as caught:
                await attempt
            assert "not-the-secret-key" not in f"{caught.value!r}{caught.value.__cause__!r}"
        assert "not-the-secret-key" not in caplog.text + repr(store) + repr(store._client)


async def test_a_bucket_that_is_missing_is_named_and_never_looks_empty(minio):
    with opened(minio, "no-such-bucket") as store:
        for attempt in (store.create(KEY, DATA), store.read(KEY), store.names_below("tenants"), probe(store, "probe")):
            with pytest.raises(UnavailableError, match="no-such-bucket"):
                await attempt


async def test_rotated_credentials_are_read_from_the_file_again(minio, bucket, tmp_path):
    file = tmp_path / "credentials"
    form = "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
    file.write_text(form.format(minio.access_key, "old-secret-key"))
    with opened(minio, bucket, s3_access_key_id=None, s3_secret_access_key=None, s3_credentials_file=file) as store:
        with pytest.raises(UnavailableError):
            await store.create(KEY, DATA)
        file.write_text("[default")
        with pytest.raises(UnavailableError):
            await store.create(KEY, DATA)
        file.write_text(form.format(minio.access_key, minio.secret_key))
        await store.create(KEY, DATA)


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MIB


async def test_a_large_blob_takes_no_more_memory_than_its_parts(store, minio, bucket):
    num_mib, piece, digest = 300, bytes(range(256)) * (MIB // 256), hashlib.sha256()
    for _ in range(num_mib):
        digest.update(piece)
    before_mib, highest_mib = resident_mib(), 0.0

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(num_mib):
            nonlocal highest_mib
            highest_mib = max(highest_mib, resident_mib())
            yield piece

    await store.put_blob(BLOB, pieces(), size_bytes=num_mib * MIB, sha256=digest.hexdigest())
    assert minio.admin().stat_object(bucket, BLOB).size == num_mib * MIB
    assert highest_mib - before_mib < 60
