# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The S3 store against a store that misbehaves: refused conditions, lost replies, silence, nonsense."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer as HttpServer

from dragoman_common.errors import UnavailableError
from dragoman_common.settings import Secret
from dragoman_registry.contracts import BLOB, DATA, KEY, SHA256, stream
from dragoman_registry.ports import BlobMismatchError, ObjectExistsError
from dragoman_registry.s3 import CREATE_ATTEMPTS, PART_BYTES, S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings
from dragoman_registry.settled import create_settled, probe
from services.registry.tests.fake_s3 import FakeS3, answers, cuts, ends_early, loses_reply, moves_to, says


@pytest.fixture
async def fake() -> AsyncIterator[FakeS3]:
    return FakeS3()


@pytest.fixture
async def store(fake):
    server = HttpServer(fake.app())
    await server.start_server()
    settings = S3Settings(
        s3_access_key_id=Secret("key"), s3_secret_access_key=Secret("secret"), s3_timeout_s=0.3, s3_retries=1
    )
    store = S3Store(Bucket(name="bucket", endpoint=str(server.make_url("")).rstrip("/"), region="eu-1"), settings)
    yield store
    store.close()
    await server.close()


async def test_a_store_that_ignores_the_condition_is_refused_at_the_start(fake, store):
    fake.honours_conditions = False
    with pytest.raises(UnavailableError, match="create-if-absent"):
        await probe(store, "probe")


async def test_a_store_that_does_not_know_the_condition_is_refused_at_the_start(fake, store):
    fake.faults += [says(501, "NotImplemented")] * 2
    with pytest.raises(UnavailableError, match="NotImplemented"):
        await probe(store, "probe")


@pytest.mark.parametrize("num_lost", [1, 2, 3])
async def test_a_create_whose_reply_is_lost_is_settled(fake, store, num_lost):
    fake.faults += [loses_reply] * num_lost
    await create_settled(store, KEY, b"mine")
    assert fake.objects == {KEY: b"mine"}
    with pytest.raises(ObjectExistsError):
        await create_settled(store, KEY, b"other")


async def test_a_create_that_never_arrived_stays_an_error_and_may_be_repeated(fake, store):
    fake.faults += [cuts] * 2
    with pytest.raises(UnavailableError):
        await create_settled(store, KEY, b"mine")
    await create_settled(store, KEY, b"mine")
    assert fake.objects == {KEY: b"mine"}


async def test_a_conflict_decides_nothing_and_is_asked_again(fake, store):
    fake.faults += [says(409, "ConditionalRequestConflict")] * 2
    await store.create(KEY, b"mine")
    assert fake.objects == {KEY: b"mine"}


async def test_a_conflict_that_stays_is_unavailable_not_taken(fake, store):
    fake.faults += [says(409, "ConditionalRequestConflict")] * CREATE_ATTEMPTS
    with pytest.raises(UnavailableError, match="another writer"):
        await store.create(KEY, b"mine")


async def test_a_busy_store_is_asked_again(fake, store):
    fake.faults.append(says(503, "SlowDown"))
    await store.create(KEY, b"mine")
    fake.faults.append(says(503, "SlowDown"))
    assert await store.read(KEY) == b"mine"


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (says(507, "XMinioStorageFull"), "full"),
        (says(403, "AccessDenied"), "credentials"),
        (says(404, "NoSuchBucket"), "no bucket"),
        (says(400, "<script>" * 99), "unknown code"),
        (moves_to("http://127.0.0.1:1/elsewhere"), "does not answer"),
        (answers(b"<html>", status=418, content_type="text/html"), "does not answer"),
        (answers(b"<Error", status=400, content_type="application/xml"), "does not answer"),
        (answers(b"", status=409), "does not answer"),
    ],
)
async def test_what_the_store_says_becomes_one_clear_unavailable(fake, store, fault, text):
    for attempt in (store.create(KEY, DATA), store.read(KEY), store.names_below("tenants")):
        # Twice: some are asked again.
        fake.faults += [fault] * 2
        with pytest.raises(UnavailableError, match=text) as caught:
            await attempt
        assert len(str(caught.value)) < 200
        fake.faults.clear()


async def test_a_body_that_ends_early_is_asked_for_again_and_never_taken_for_the_whole(fake, store):
    await store.create(KEY, DATA)
    fake.faults.append(ends_early)
    assert await store.read(KEY) == DATA
    fake.faults += [ends_early] * 2
    with pytest.raises(UnavailableError):
        await store.read(KEY)


async def test_a_store_that_is_silent_is_given_up_in_bounded_time(fake, store):
    async def silent(request: web.Request) -> web.Response:
        await asyncio.Event().wait()

    server = HttpServer(web.Application())
    server.app.router.add_route("*", "/{path:.*}", silent)
    await server.start_server()
    settings = S3Settings(
        s3_access_key_id=Secret("key"), s3_secret_access_key=Secret("secret"), s3_timeout_s=0.2, s3_retries=1
    )
    quiet = S3Store(Bucket(name="bucket", endpoint=str(server.make_url("")).rstrip("/"), region="eu-1"), settings)
    started_s = time.monotonic()
    for attempt in (quiet.create(KEY, DATA), quiet.read(KEY), quiet.names_below("tenants")):
        with pytest.raises(UnavailableError):
            await attempt
    assert time.monotonic() - started_s < 10
    quiet.close()
    await server.close()


BIG = bytes(PART_BYTES) + b"end"


def complete_requests(fake: FakeS3) -> list[str]:
    return [line for line in fake.requests if line.startswith("POST") and "uploadId" in line]


async def test_complete_is_not_sent_for_a_wrong_digest_and_the_parts_are_freed(fake, store):
    with pytest.raises(BlobMismatchError):
        await store.put_blob(BLOB, stream(BIG[:PART_BYTES], b"end"), size_bytes=len(BIG), sha256=SHA256)
    assert complete_requests(fake) == []
    assert fake.requests[-1] == f"DELETE /bucket/{BLOB}?uploadId=u1"


async def test_an_error_behind_a_200_is_an_error(fake, store):
    done = answers(b"<Error><Code>InternalError</Code></Error>", content_type="application/xml")
    fake.faults += [lambda *_: None] * 3 + [done]
    with pytest.raises(UnavailableError, match="complete"):
        await store.put_blob(
            BLOB, stream(BIG[:PART_BYTES], b"end"), size_bytes=len(BIG), sha256=hashlib.sha256(BIG).hexdigest()
        )
    assert fake.requests[-1].startswith("DELETE")


async def test_a_part_that_fails_ends_the_upload_and_frees_the_others(fake, store):
    fake.faults += [lambda *_: None] * 2 + [says(507, "XMinioStorageFull")]
    with pytest.raises(UnavailableError, match="full"):
        await store.put_blob(
            BLOB, stream(BIG[:PART_BYTES], b"end"), size_bytes=len(BIG), sha256=hashlib.sha256(BIG).hexdigest()
        )
    assert complete_requests(fake) == []
    assert fake.requests[-1].startswith("DELETE")
    assert fake.objects == {}


async def test_no_request_leaves_for_another_host(fake, store):
    other = FakeS3()
    server = HttpServer(other.app())
    await server.start_server()
    fake.faults += [moves_to(str(server.make_url("/bucket/x")))]
    with pytest.raises(UnavailableError):
        await store.read(KEY)
    assert (len(fake.requests), other.requests) == (1, [])
    await server.close()


async def test_a_cancelled_upload_frees_its_parts_when_none_travels_any_more(fake, store):
    travelling, go = asyncio.Event(), asyncio.Event()

    async def slow(_store: FakeS3, _request: web.Request, _body: bytes) -> None:
        await go.wait()

    # With two on the way, the upload waits for the first of them.
    fake.faults += [lambda *_: None, slow, lambda *_: travelling.set()]
    parts = (bytes(PART_BYTES) for _ in range(4))
    upload = asyncio.create_task(store.put_blob(BLOB, stream(*parts), size_bytes=4 * PART_BYTES, sha256=SHA256))
    await travelling.wait()
    upload.cancel()
    await asyncio.wait([upload], timeout=0.1)
    assert not any(line.startswith("DELETE") for line in fake.requests)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert fake.requests[-1].startswith("DELETE")
