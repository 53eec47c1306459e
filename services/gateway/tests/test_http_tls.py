# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The HTTP side over TLS: who is answered, and that a handshake is a connection like any other."""

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from dragoman_common import tls_files
from dragoman_common.testing_certificates import TestAuthority
from dragoman_gateway.http_server import HttpServer


@pytest.fixture(scope="module")
def authority():
    return TestAuthority()


@pytest.fixture
def files(authority, tmp_path):
    return authority.files(tmp_path / "gateway")


@asynccontextmanager
async def serving(settings, *, max_connections=10, read_timeout_s=10.0):
    async def answer(request):
        return web.Response(text=f"read {len(await request.read())}")

    application = web.Application()
    application.router.add_route("*", "/", answer)
    server = HttpServer(
        application,
        listen="127.0.0.1:0",
        ready_file=None,
        max_connections=max_connections,
        read_timeout_s=read_timeout_s,
        grace_s=1.0,
        context=settings.server().context,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def trusting(authority, certificate=None, folder=None):
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if certificate:
        files = certificate.save(folder, authorities=authority.pem)
        context.load_cert_chain(files.chain, files.key)
    return context


@asynccontextmanager
async def connected(server, context):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer_of(server, context, *, body=b""):
    async with connected(server, context) as (reader, writer):
        head = f"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        return await asyncio.wait_for(reader.read(), 10)


async def is_closed(reader):
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("size", [0, 1 << 20])
async def test_request_that_follows_the_handshake_at_once_is_answered_whole(authority, files, size):
    async with serving(files.settings()) as server:
        answer = await answer_of(server, trusting(authority), body=b"x" * size)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"read %d" % size)


async def test_connection_is_kept_for_further_requests(authority, files):
    async with serving(files.settings()) as server, connected(server, trusting(authority)) as (reader, writer):
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(b"read 0")).startswith(b"HTTP/1.1 200 OK")


async def test_client_of_another_authority_does_not_believe_the_gateway(files):
    async with serving(files.settings()) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await answer_of(server, trusting(TestAuthority("other")))


async def test_plaintext_is_answered_with_nothing(files):
    async with serving(files.settings()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP")
        writer.close()


async def test_replaced_certificate_is_shown_to_the_next_connection(authority, files, monkeypatch):
    monkeypatch.setattr(tls_files, "CHECK_PERIOD_S", 0.0)
    async with serving(files.settings()) as server, connected(server, trusting(authority)) as (reader, writer):
        other = TestAuthority("next year's")
        files.replace(other.issue(), authorities=other.pem)
        assert (await answer_of(server, trusting(other))).startswith(b"HTTP/1.1 200 OK")
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readuntil(b"read 0")).startswith(b"HTTP/1.1 200 OK")


async def test_client_certificate_is_required_where_there_is_an_authority_for_it(authority, files, tmp_path):
    async with serving(files.settings(is_mutual=True)) as server:
        # With TLS 1.3 a client learns that it was refused only when it reads.
        with suppress(ssl.SSLError, ConnectionError):
            assert await answer_of(server, trusting(authority)) == b""
        own = trusting(authority, authority.issue(), tmp_path / "client")
        assert (await answer_of(server, own)).startswith(b"HTTP/1.1 200 OK")


async def test_handshakes_that_do_not_go_on_count_as_connections_and_are_cut(authority, files):
    async with serving(files.settings(), max_connections=2, read_timeout_s=0.5) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await answer_of(server, trusting(authority))
        assert all([await is_closed(reader) for reader, _ in silent])
        assert (await answer_of(server, trusting(authority))).startswith(b"HTTP/1.1 200 OK")
        for _, writer in silent:
            writer.close()


async def test_stop_ends_handshakes_that_do_not_go_on(files):
    async with serving(files.settings(), read_timeout_s=60.0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert await is_closed(reader)
    writer.close()
