# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Refused streams: a sender learns why, and nobody makes the server read without end."""

import asyncio

import grpc
import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc as pb_grpc
from dragoman_common import refusals
from dragoman_common.auth import AUTHENTICATED
from dragoman_common.server import Service
from dragoman_common.testing import running

METHODS = [method.name for method in pb.DESCRIPTOR.services_by_name["RegistryService"].methods]
POLICY = {f"/dragoman.registry.v1.RegistryService/{name}": AUTHENTICATED for name in METHODS}
PART = pb.PublishVersionRequest(chunk=pb.FileChunk(path="weights.safetensors", data=bytes(1 << 20)))


@pytest.fixture
async def server():
    add = pb_grpc.add_RegistryServiceServicer_to_server
    service = Service(register=add, servicer=pb_grpc.RegistryServiceServicer())
    async with running([service], POLICY, name="registry") as made:
        yield made


class Sender:
    """Publishes without a token, and counts what it could send."""

    def __init__(self, server, num_parts):
        self.server, self.num_parts, self.num_sent = server, num_parts, 0

    async def parts(self):
        while self.num_sent < self.num_parts:
            self.num_sent += 1
            yield PART

    async def code(self):
        async with grpc.aio.insecure_channel(self.server.target) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await pb_grpc.RegistryServiceStub(channel).PublishVersion(self.parts(), timeout=30)
        return caught.value.code()


async def test_a_refused_sender_learns_why_after_it_has_sent_all(server):
    # A client whose send is cut off may say INTERNAL; one that was let finish cannot.
    sender = Sender(server, 24)
    assert await sender.code() is grpc.StatusCode.UNAUTHENTICATED
    assert sender.num_sent == 24


async def test_a_refused_sender_is_not_read_without_end(server):
    sender = Sender(server, 1_000)
    assert await sender.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INTERNAL)
    assert sender.num_sent < 200


async def test_refused_senders_beyond_a_few_are_ended_at_once(server, monkeypatch):
    monkeypatch.setattr(refusals, "_MAX_STREAMS", 0)
    sender = Sender(server, 1_000)
    await sender.code()
    assert sender.num_sent < 20


async def test_refused_streams_that_say_nothing_end_together(server):
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = pb_grpc.RegistryServiceStub(channel)
        calls = [stub.PublishVersion(timeout=30) for _ in range(50)]
        async with asyncio.timeout(10):
            codes = await asyncio.gather(*(call.code() for call in calls))
    assert set(codes) == {grpc.StatusCode.UNAUTHENTICATED}
