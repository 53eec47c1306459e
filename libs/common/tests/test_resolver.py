# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Names to addresses: what changes is told, and a name service that is away or slow changes nothing."""

import asyncio
import queue
import socket
from contextlib import asynccontextmanager, suppress

import pytest

from dragoman_common.endpoint import Endpoint
from dragoman_common.resolver import Resolver

NAME = Endpoint(host="workers.ns.svc", port=9000)


def answers(*hosts):
    families = {True: socket.AF_INET6, False: socket.AF_INET}
    return [(families[":" in host], socket.SOCK_STREAM, 6, "", (host, 9000)) for host in hosts]


class NameService:
    """Answers each question with what the test puts there; a question waits for it, on its thread."""

    def __init__(self):
        self.replies = queue.Queue()

    def __call__(self, host, port, *, type):  # noqa: A002 - getaddrinfo's name
        reply = self.replies.get()
        if isinstance(reply, Exception):
            raise reply
        return reply


@asynccontextmanager
async def followed(*, timeout_s=60.0, on_asked=None):
    service, told = NameService(), asyncio.Queue()
    resolver = Resolver(service, period_s=0, timeout_s=timeout_s)
    task = asyncio.ensure_future(resolver.follow(NAME, told.put_nowait, on_asked=on_asked))
    try:
        yield service.replies.put, told
    finally:
        task.cancel()
        # Ends the question that is under way.
        service.replies.put([])
        with suppress(asyncio.CancelledError):
            await task
        resolver.close()


async def test_only_changes_are_told():
    async with followed() as (reply, told):
        reply(answers("10.0.0.2", "10.0.0.1", "10.0.0.1"))
        reply(answers("10.0.0.1", "10.0.0.2"))
        reply(answers("10.0.0.1", "10.0.0.2", "10.0.0.3"))
        assert await told.get() == ("10.0.0.1:9000", "10.0.0.2:9000")
        assert await told.get() == ("10.0.0.1:9000", "10.0.0.2:9000", "10.0.0.3:9000")


async def test_a_name_service_that_is_away_changes_nothing(caplog):
    async with followed() as (reply, told):
        reply(answers("10.0.0.1"))
        for _ in range(3):
            reply(socket.gaierror(socket.EAI_AGAIN, "try again"))
        reply(OSError("no descriptors"))
        reply(answers("10.0.0.1"))
        reply(answers("10.0.0.9"))
        assert [await told.get(), await told.get()] == [("10.0.0.1:9000",), ("10.0.0.9:9000",)]
    assert [record.getMessage() for record in caplog.records] == [
        "name not resolved, the last addresses hold",
        "name service answers again",
    ]


@pytest.mark.parametrize("number", sorted({socket.EAI_NONAME, socket.EAI_NODATA}))
async def test_a_name_without_addresses_is_believed(number):
    async with followed() as (reply, told):
        reply(answers("10.0.0.1"))
        reply(socket.gaierror(number, "not known"))
        assert [await told.get(), await told.get()] == [("10.0.0.1:9000",), ()]


async def test_a_process_on_both_families_is_one_worker():
    async with followed() as (reply, told):
        reply(answers("fd00::1", "10.0.0.1"))
        reply(answers("fd00::1"))
        assert [await told.get(), await told.get()] == [("10.0.0.1:9000",), ("[fd00::1]:9000",)]


async def test_a_slow_name_service_holds_up_nothing_else():
    async with followed() as (_, told):
        # The question is on its thread, unanswered, and the loop goes on.
        for _ in range(100):
            await asyncio.sleep(0)
        assert told.empty()


async def test_a_late_answer_counts_as_none_and_is_taken_when_it_comes(caplog):
    asked = asyncio.Event()
    async with followed(timeout_s=0, on_asked=asked.set) as (reply, told):
        async with asyncio.timeout(10):
            await asked.wait()
        assert told.empty()
        assert [record.getMessage() for record in caplog.records] == ["name not resolved, the last addresses hold"]
        # It is the first question's: no other was asked behind it.
        reply(answers("10.0.0.1"))
        assert await told.get() == ("10.0.0.1:9000",)


@pytest.mark.parametrize("reply_with", [answers("10.0.0.1"), [], OSError("no descriptors")])
async def test_every_question_is_told_answered_or_not(reply_with):
    asked = asyncio.Event()
    async with followed(on_asked=asked.set) as (reply, _):
        await asyncio.sleep(0)
        assert not asked.is_set()
        reply(reply_with)
        async with asyncio.timeout(10):
            await asked.wait()


async def test_an_address_is_taken_as_it_is_and_followed_until_cancelled():
    told = asyncio.Queue()
    resolver = Resolver(NameService())
    task = asyncio.ensure_future(resolver.follow(Endpoint(host="127.0.0.1", port=1), told.put_nowait))
    assert await told.get() == ("127.0.0.1:1",)
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    resolver.close()
