# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What callers can cost the HTTP side without a prediction: connections, heads, bodies, answers that are not taken."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import pytest

BODY = json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["oil"]}]}).encode()


@pytest.fixture
def bounded(platform, running_gateway):
    """A gateway with bounds that a test reaches soon."""

    def start(**changes):
        small = {"HTTP_MAX_CONNECTIONS": "4", "HTTP_MAX_CALLS": "2", "HTTP_READ_TIMEOUT_MS": "300"}
        return running_gateway.gateway_running(platform, **(small | changes))

    return start


@asynccontextmanager
async def connected(gateway, **options):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]), **options)
    try:
        yield reader, writer
    finally:
        # Not closed in order: what a test has written may be more than the gateway will ever read.
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def status_of(reader):
    async with asyncio.timeout(10):
        line = await reader.readline()
    return int(line.split()[1]) if line else None


def infer_head(gateway):
    return (
        "POST /v2/models/r8/infer HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {gateway.platform.token()}\r\nContent-Length: {len(BODY)}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_connection_that_sends_no_whole_head_is_closed(bounded, sent):
    async with bounded() as gateway, connected(gateway) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(10):
            rest = await reader.read()
        assert rest.startswith(b"HTTP/1.1 200") == sent.endswith(b"\r\n\r\n")


async def test_a_head_that_comes_byte_by_byte_buys_no_time(bounded):
    async with bounded() as gateway, connected(gateway) as (reader, writer):
        closed = asyncio.ensure_future(reader.read())
        writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
        num_bytes = 0
        async with asyncio.timeout(10):
            while not closed.done():
                writer.write(b"x")
                num_bytes += 1
                await asyncio.wait([closed], timeout=0.02)
        assert num_bytes < 100


async def test_one_connection_too_many_is_told_so_and_others_end_to_make_room(bounded):
    async with bounded(HTTP_READ_TIMEOUT_MS="60000") as gateway:
        silent = [connected(gateway) for _ in range(4)]
        for connection in silent:
            _, writer = await connection.__aenter__()
            writer.write(b"GET /healthz HTTP/1.1\r\n")
        # Connections are taken in turn: this one comes after them.
        async with connected(gateway) as (reader, _):
            assert await status_of(reader) == 503
        await silent.pop().__aexit__(None, None, None)

        async def is_answered():
            async with connected(gateway) as (reader, writer):
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                return await status_of(reader) == 200

        await gateway.eventually(is_answered)
        for connection in silent:
            await connection.__aexit__(None, None, None)


async def test_calls_are_counted_before_their_bodies_are_read(bounded):
    async with bounded(HTTP_READ_TIMEOUT_MS="60000") as gateway:
        gateway.platform.tokenizer.is_open.clear()
        async with connected(gateway) as first, connected(gateway) as second, connected(gateway) as third:
            for _, writer in (first, second):
                writer.write(infer_head(gateway) + BODY)
            await gateway.eventually(lambda: len(gateway.platform.tokenizer.tenants) == 2)
            reader, writer = third
            writer.write(infer_head(gateway))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 429")
            assert b"Retry-After: 1" in head
            gateway.platform.tokenizer.is_open.set()
            assert [await status_of(reader) for reader, _ in (first, second)] == [200, 200]


async def test_a_body_that_does_not_come_frees_its_place(bounded):
    async with bounded() as gateway, connected(gateway) as (reader, writer):
        writer.write(infer_head(gateway))
        async with asyncio.timeout(10):
            answer = (await reader.read()).decode()
        assert answer.startswith("HTTP/1.1 504")
        assert "the body did not arrive within 0.3 s" in answer


async def test_answers_that_are_not_taken_end_the_connection(bounded):
    async with bounded(HTTP_MAX_CONNECTIONS="1") as gateway:
        # A small buffer here: the answers soon have nowhere to go.
        async with connected(gateway, limit=1_024) as (_, writer):
            writer.transport.pause_reading()
            with suppress(ConnectionError):
                async with asyncio.timeout(30):
                    while not writer.is_closing():
                        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
                        await writer.drain()

            async def is_answered():
                async with connected(gateway) as (reader, writer):
                    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                    return await status_of(reader) == 200

            await gateway.eventually(is_answered)
