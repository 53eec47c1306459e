# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics port: one text by one method at one path, however clients behave."""

import asyncio
import threading
from contextlib import asynccontextmanager, suppress

import pytest

from dragoman_common import metrics_port
from dragoman_common.metrics_port import MetricsPort

TEXT = b"dragoman_rows_total 3.0\n"


@asynccontextmanager
async def serving(text=lambda: TEXT):
    port = MetricsPort("127.0.0.1:0", text)
    number = await port.start()
    try:
        yield number
    finally:
        await port.close()


async def ask(port, data):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def request(line):
    return line + b" HTTP/1.1\r\nHost: a\r\nUser-Agent: Prometheus\r\n\r\n"


@pytest.mark.parametrize("path", [b"/metrics", b"/metrics?a=b"])
async def test_get_of_metrics_is_the_text_in_prometheus_format(path):
    async with serving() as port:
        answer = await ask(port, request(b"GET " + path))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    assert f"Content-Length: {len(TEXT)}".encode() in head
    assert body == TEXT


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(b"POST /metrics"), b"405"),
        (request(b"HEAD /metrics"), b"405"),
        (request(b"DELETE /metrics"), b"405"),
        (request(b"GET /"), b"404"),
        (request(b"GET /metrics/../etc/passwd"), b"404"),
        (request(b"GET /debug"), b"404"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"\x16\x03\x01 nonsense\r\n\r\n", b"400"),
        (request(b"GET /metrics")[:-2] + b"X: " + b"x" * metrics_port.MAX_HEAD_BYTES + b"\r\n\r\n", b"431"),
    ],
)
async def test_everything_else_is_refused(data, status):
    async with serving() as port:
        answer = await ask(port, data)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert TEXT not in answer


async def test_connection_that_says_nothing_is_cut(monkeypatch):
    monkeypatch.setattr(metrics_port, "READ_TIMEOUT_S", 0.05)
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_connections_beyond_the_bound_are_cut_and_there_is_room_again_after(monkeypatch):
    monkeypatch.setattr(metrics_port, "MAX_CONNECTIONS", 2)
    async with serving() as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await ask_until(port, lambda answer: answer == b"")
        for _, writer in held:
            writer.close()
        await ask_until(port, lambda answer: answer.endswith(TEXT))


async def ask_until(port, is_it):
    async with asyncio.timeout(10):
        while True:
            try:
                answer = await ask(port, request(b"GET /metrics"))
            except ConnectionError:
                answer = b""
            if is_it(answer):
                return


async def test_two_scrapers_get_one_text_after_the_other():
    running, most = 0, 0
    lock = threading.Lock()
    first = threading.Event()

    def text():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        first.wait(0.1)
        with lock:
            running -= 1
        return TEXT

    async with serving(text) as port:
        answers = await asyncio.gather(*(ask(port, request(b"GET /metrics")) for _ in range(4)))
    assert all(answer.endswith(TEXT) for answer in answers)
    assert most == 1


async def test_stop_cuts_connections_off_and_says_nothing_of_a_defect(caplog):
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET ")
        await ask(port, request(b"GET /metrics"))
    with suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
