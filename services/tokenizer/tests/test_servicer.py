# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The service over real gRPC: answers, codes, who may call, and a loop that nothing blocks."""

import asyncio
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dragoman.tokenizer.v1 import tokenizer_pb2 as pb
from dragoman.tokenizer.v1.tokenizer_pb2_grpc import TokenizerServiceStub, add_TokenizerServiceServicer_to_server
from dragoman_common.auth import calling_as
from dragoman_common.server import Service
from dragoman_common.testing import running
from dragoman_tokenizer.encoding import CallLimits
from dragoman_tokenizer.servicer import POLICY, TokenizerServicer

R8_3 = pb.VersionName(model="r8", number=3)


@pytest.fixture
async def server(tokenizers, executor):
    servicer = TokenizerServicer(tokenizers, executor, CallLimits(max_rows=4, max_tokens=1000))
    service = Service(register=add_TokenizerServiceServicer_to_server, servicer=servicer)
    async with running([service], POLICY, name="tokenizer") as server:
        yield server


@pytest.fixture
async def stub(server):
    async with server.channel("operator") as channel:
        yield TokenizerServiceStub(channel)


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_rows_are_encoded_and_decoded(stub):
    reply = await stub.Encode(pb.EncodeRequest(version=R8_3, texts=["The ship, grain!", "zyzzyva wheat"]))
    assert list(reply.lengths) == [5, 2]
    assert list(reply.truncated) == [False, False]
    assert list(reply.num_unknown) == [2, 1]
    back = await stub.Decode(pb.DecodeRequest(version=R8_3, token_ids=reply.token_ids, lengths=reply.lengths))
    assert list(back.texts) == ["the ship <unk> grain <unk>", "<unk> wheat"]


async def test_tokenizer_is_described(stub, source):
    reply = await stub.GetTokenizer(pb.GetTokenizerRequest(version=R8_3))
    assert (reply.backend, reply.max_tokens, reply.max_text_bytes) == ("basic_english", 8, 65_536)
    assert reply.vocabulary_size == 13
    assert len(reply.sha256) == 64


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (pb.EncodeRequest(version=R8_3, texts=["a", ""]), "INVALID_ARGUMENT", "texts[1] is empty"),
        (
            pb.EncodeRequest(version=R8_3, texts=["a" * 70_001]),
            "INVALID_ARGUMENT",
            "texts[0] has 70,001 bytes; the limit for model r8 version 3 is 65,536 bytes: shorten it",
        ),
        (pb.EncodeRequest(version=R8_3, texts=["a"] * 5), "INVALID_ARGUMENT", "one call takes 1 to 4"),
        (pb.EncodeRequest(version=R8_3), "INVALID_ARGUMENT", "one call takes 1 to 4"),
        (pb.EncodeRequest(texts=["a"]), "INVALID_ARGUMENT", "version.model"),
        (pb.EncodeRequest(version=pb.VersionName(model="r8"), texts=["a"]), "INVALID_ARGUMENT", "version.number"),
        (pb.EncodeRequest(version=pb.VersionName(model="r8", number=9), texts=["a"]), "NOT_FOUND", "version 9"),
        (
            pb.EncodeRequest(version=pb.VersionName(model="r8", number=3, root_sha256="0" * 64), texts=["a"]),
            "FAILED_PRECONDITION",
            "root digest",
        ),
    ],
)
async def test_bad_call_gets_its_code_and_a_clear_text(stub, request_, code, text):
    status, details = await refused(stub.Encode(request_))
    assert status is grpc.StatusCode[code]
    assert text in details


async def test_message_above_the_cap_is_resource_exhausted(stub):
    status, details = await refused(stub.Encode(pb.EncodeRequest(version=R8_3, texts=["a" * 5_000_000])))
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "4194304" in details


async def test_bytes_that_are_no_message_are_an_invalid_argument(server):
    async with server.channel("gateway") as channel:
        call = channel.unary_unary("/dragoman.tokenizer.v1.TokenizerService/Encode")
        status, _ = await refused(call(b"\xff\xff\xff"))
    assert status is grpc.StatusCode.INVALID_ARGUMENT


async def test_changed_tokenizer_file_is_data_loss(stub, source):
    source.tamper("local", "r8", 3, "tokenizer.json", b"{}")
    status, details = await refused(stub.Encode(pb.EncodeRequest(version=R8_3, texts=["a"])))
    assert status is grpc.StatusCode.DATA_LOSS
    assert "tokenizer.json" in details


async def test_gateway_calls_for_the_tenant_that_it_names(server, source, files):
    source.publish("acme", "own", 1, files())
    request = pb.EncodeRequest(version=pb.VersionName(model="own", number=1), texts=["ship"])
    async with server.channel("gateway") as channel:
        stub = TokenizerServiceStub(channel)
        with calling_as("acme"):
            assert list((await stub.Encode(request)).lengths) == [1]
        with calling_as("local"):
            status, _ = await refused(stub.Encode(request))
    assert status is grpc.StatusCode.NOT_FOUND


async def test_operator_cannot_name_another_tenant(server, source, files):
    source.publish("acme", "own", 1, files())
    async with server.channel("operator") as channel:
        with calling_as("acme"):
            request = pb.EncodeRequest(version=pb.VersionName(model="own", number=1), texts=["ship"])
            status, _ = await refused(TokenizerServiceStub(channel).Encode(request))
    assert status is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("identity", ["worker", "registry", "launcher", "monitor", "trainer", "tokenizer"])
async def test_identity_without_a_policy_row_is_refused(server, identity):
    async with server.channel(identity, tenant="local") as channel:
        for method in sorted(POLICY):
            status, _ = await refused(channel.unary_unary(method)(b""))
            assert status is grpc.StatusCode.PERMISSION_DENIED


async def test_every_method_without_a_token_is_unauthenticated(server):
    tested = set()
    async with grpc.aio.insecure_channel(server.target) as channel:
        for method in POLICY:
            status, _ = await refused(channel.unary_unary(method)(b"\xff"))
            assert status is grpc.StatusCode.UNAUTHENTICATED
            tested.add(method)
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    assert tested == {name for name in server.server.methods if not name.startswith("/grpc.health.v1.")}


async def test_concurrent_calls_load_a_tokenizer_once(stub, source):
    source.gate = asyncio.Event()
    calls = [stub.Encode(pb.EncodeRequest(version=R8_3, texts=["ship"])) for _ in range(32)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await source.is_waiting.wait()
    source.gate.set()
    replies = await asyncio.gather(*tasks)
    assert {tuple(reply.token_ids) for reply in replies} == {tuple(replies[0].token_ids)}
    assert (source.num_manifests, source.num_reads) == (1, 2)


async def test_health_answers_while_every_thread_encodes(server, executor, stub):
    release = threading.Event()
    busy = [executor.submit(release.wait) for _ in range(2)]
    call = asyncio.ensure_future(stub.Encode(pb.EncodeRequest(version=R8_3, texts=["ship"])))
    try:
        async with grpc.aio.insecure_channel(server.target) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            reply = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        assert not call.done()
    finally:
        release.set()
    assert list((await call).lengths) == [1]
    assert all(each.result() for each in busy)


async def test_call_whose_deadline_passes_while_it_waits_ends_in_time(server, executor, stub):
    release = threading.Event()
    for _ in range(2):
        executor.submit(release.wait)
    try:
        request = pb.EncodeRequest(version=R8_3, texts=["ship"])
        status, _ = await refused(stub.Encode(request, timeout=0.2))
        assert status is grpc.StatusCode.DEADLINE_EXCEEDED
    finally:
        release.set()
