# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Names to addresses: what changes is told, and a name service that is away changes nothing."""

import asyncio
import queue
import socket
from contextlib import asynccontextmanager, suppress

from dragoman_gateway.resolver import Resolver
from dragoman_gateway.targets import Endpoint

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
async def followed(endpoint=NAME):
    service, told = NameService(), asyncio.Queue()
    resolver = Resolver(service, period_s=0)
    task = asyncio.ensure_future(resolver.follow(endpoint, told.put_nowait))
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


async def test_a_name_without_addresses_is_believed():
    async with followed() as (reply, told):
        reply(answers("10.0.0.1"))
        reply(socket.gaierror(socket.EAI_NONAME, "not known"))
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


async def test_an_address_is_taken_as_it_is():
    told = []
    await Resolver(NameService()).follow(Endpoint(host="127.0.0.1", port=1), told.append)
    assert told == [("127.0.0.1:1",)]
