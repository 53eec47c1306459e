# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The gateway as it is wired, between real servers that stand in for the rest of the platform."""

import asyncio
import io
import json
import logging
from contextlib import suppress

import aiohttp
import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from dragoman.events.v1 import events_pb2
from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman.gateway.v1 import gateway_pb2_grpc as pb_grpc
from dragoman_common.settings import parse
from dragoman_common.testing import TestKeys
from dragoman_events.message_event import message_of
from dragoman_events.opening import open_log
from dragoman_gateway import oip, servicer
from dragoman_gateway.__main__ import run
from dragoman_gateway.oip_codec import decode_bytes_tensor, encode_bytes_tensor
from dragoman_gateway.settings import Settings
from dragoman_models.signing import SigningKey
from inference import oip_pb2, oip_pb2_grpc

SERVED = servicer.POLICY | oip.POLICY


class Gateway:
    """A running gateway, and how a client talks to it."""

    def __init__(self, platform, channel, http_port):
        self.platform = platform
        self.channel = channel
        self.url = f"http://127.0.0.1:{http_port}"
        self.own = pb_grpc.GatewayServiceStub(channel)
        self.oip = oip_pb2_grpc.GRPCInferenceServiceStub(channel)

    def auth(self, **claims):
        return (("authorization", f"Bearer {self.platform.token(**claims)}"),)

    async def classify(self, *texts, model="r8", version=0, timeout_s=10, **claims):
        selector = pb.ModelSelector(model=model, version=version)
        request = pb.ClassifyRequest(model=selector, texts=texts, client_id="mine")
        return await self.own.Classify(request, metadata=self.auth(**claims), timeout=timeout_s)

    def events(self, topic="dragoman.predictions"):
        log = open_log(f"sqlite://{self.platform.folder}/events.db")
        kind = events_pb2.Prediction if topic == "dragoman.predictions" else events_pb2.Feedback
        try:
            return [message_of(record.event(), kind) for record in log.read(topic, 0, 1_000)]
        finally:
            log.close()


async def eventually(probe, *, timeout_s=10):
    """The first true value of `probe`, which may be a coroutine function."""
    async with asyncio.timeout(timeout_s):
        while True:
            value = probe()
            value = await value if asyncio.iscoroutine(value) else value
            if value:
                return value
            await asyncio.sleep(0.01)


@pytest.fixture
async def platform(fake_platform, tmp_path):
    async with fake_platform.platform_running(tmp_path) as made:
        made.publish(1)
        yield made


@pytest.fixture
async def gateway(platform):
    config = parse(Settings, platform.environment(), prefix="DRAGOMAN_GATEWAY_")
    running = asyncio.ensure_future(run(config))
    ready = [config.server.ready_file, config.http_ready_file]
    await eventually(lambda: running.done() or all(path.exists() for path in ready))
    if running.done():
        running.result()
    ports = [json.loads(path.read_text())["port"] for path in ready]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
        await eventually(lambda: _is_serving(channel))
        yield Gateway(platform, channel, ports[1])
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def _is_serving(channel):
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
    )
    return (await check(b"", timeout=5)).status == health_pb2.HealthCheckResponse.SERVING


def raw_request(*texts, **members):
    tensor = oip_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[len(texts)])
    raw = encode_bytes_tensor(text.encode() for text in texts)
    members = {"model_name": "r8", "inputs": [tensor], "raw_input_contents": [raw]} | members
    return oip_pb2.ModelInferRequest(**members)


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_an_answer_has_its_event_in_the_log(gateway):
    answer = await gateway.classify("grain exports rose", "oil")
    assert (answer.model, answer.version, answer.client_id, list(answer.labels)) == (
        "r8",
        1,
        "mine",
        ["acq", "earn", "grain"],
    )
    events = gateway.events()
    assert [(event.request_id, event.row, event.code) for event in events] == [
        (answer.request_id, 0, "OK"),
        (answer.request_id, 1, "OK"),
    ]
    assert [event.label for event in events] == [row.label for row in answer.rows]
    assert [event.score for event in events] == [max(row.scores) for row in answer.rows]
    assert (events[0].tenant, events[0].subject, events[0].num_tokens) == ("local", "ann", 3)
    # The tenant travelled with the calls behind the gateway.
    assert gateway.platform.tokenizer.tenants == ["local"]
    assert gateway.platform.worker.calls == [("local", "r8", "1")]


async def test_raw_and_typed_and_our_own_face_say_the_same(gateway):
    texts = ["grain exports rose", "oil"]
    own = await gateway.classify(*texts)
    raw = await gateway.oip.ModelInfer(raw_request(*texts, id="mine"), metadata=gateway.auth(), timeout=10)
    typed_request = raw_request(*texts)
    typed_request.ClearField("raw_input_contents")
    typed_request.inputs[0].contents.bytes_contents.extend(text.encode() for text in texts)
    typed = await gateway.oip.ModelInfer(typed_request, metadata=gateway.auth(), timeout=10)
    expected = np.array([row.scores for row in own.rows], np.float32)
    np.testing.assert_array_equal(np.frombuffer(raw.raw_output_contents[1], "<f4").reshape(2, 3), expected)
    np.testing.assert_array_equal(np.array(typed.outputs[1].contents.fp32_contents, np.float32).reshape(2, 3), expected)
    labels = [row.label.encode() for row in own.rows]
    assert decode_bytes_tensor(raw.raw_output_contents[0], 2, field="label") == labels
    assert list(typed.outputs[0].contents.bytes_contents) == labels
    assert raw.id == "mine"
    request_ids = {answer.parameters["dragoman_request_id"].string_param for answer in (raw, typed)}
    assert request_ids | {own.request_id} == {event.request_id for event in gateway.events()}


async def test_every_served_method_without_a_token_is_unauthenticated(gateway):
    reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    for method in [*SERVED, reflection, "/dragoman.gateway.v1.GatewayService/Unknown"]:
        for metadata in ((), (("authorization", "Bearer abc"),), gateway.auth(issued_ago_s=3_600)):
            code, _ = await refused(gateway.channel.unary_unary(method)(b"\xff", metadata=metadata, timeout=5))
            assert code is grpc.StatusCode.UNAUTHENTICATED, method
    stub = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    found = [reply async for reply in stub.ServerReflectionInfo(iter(asked), metadata=gateway.auth(), timeout=5)]
    services = {service.name for service in found[0].list_services_response.service}
    assert services == {method.split("/")[1] for method in [*SERVED, reflection, "/grpc.health.v1.Health/Check"]}


async def test_a_service_token_is_no_users_token(gateway):
    token = TestKeys().tokens("operator").token("gateway")
    code, _ = await refused(
        gateway.own.ListModels(pb.ListModelsRequest(), metadata=(("authorization", f"Bearer {token}"),))
    )
    assert code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("texts", "options", "code", "text"),
    [
        (["a", "b", "c", ""], {}, "INVALID_ARGUMENT", "texts[3] is empty"),
        (["x" * 1_001], {}, "INVALID_ARGUMENT", "max_text_bytes = 1000"),
        (["x" * 5_000_000], {}, "RESOURCE_EXHAUSTED", "4194304"),
        (["oil"], {"model": "r9"}, "NOT_FOUND", "r9"),
        (["oil"], {"model": "r8@canary"}, "NOT_FOUND", "canary"),
        (["oil"], {"version": 7}, "NOT_FOUND", "version 7"),
        (["oil"], {"version": -1}, "INVALID_ARGUMENT", "version is -1"),
        (["oil"], {"model": "../r8"}, "INVALID_ARGUMENT", "model.model"),
        (["oil"], {"models": ["bbc"]}, "PERMISSION_DENIED", "r8"),
        (["oil"], {"tenant": "acme"}, "NOT_FOUND", "r8"),
        (["oil"], {"issued_ago_s": 3_600}, "UNAUTHENTICATED", "expired"),
    ],
)
async def test_refusals_say_what_to_do(gateway, texts, options, code, text):
    found, details = await refused(gateway.classify(*texts, **options))
    assert (found.name, text in details) == (code, True), details


async def test_an_alias_that_moves_moves_the_traffic(gateway):
    gateway.platform.publish(2)
    await eventually(lambda: _version(gateway, 2))


async def _version(gateway, expected, **options):
    return (await gateway.classify("oil", **options)).version == expected


async def test_a_forged_event_and_a_forged_version_are_refused_and_the_old_kept(gateway, fake_platform):
    registry, worker = gateway.platform.registry, gateway.platform.worker
    forged_event, forged_version, good = (fake_platform.manifest_of(number) for number in (2, 3, 4))
    for manifest in (forged_event, forged_version, good):
        worker.hold(manifest)
    registry.publish(forged_event)
    registry.move(forged_event, key=SigningKey.generate(), keep=False)
    registry.publish(forged_version, key=SigningKey.generate())
    registry.move(forged_version, keep=False)
    # An alias that nothing verified is known about says that it was refused; it comes last, so all were read.
    registry.move(forged_event, alias="canary", key=SigningKey.generate(), keep=False)

    async def is_refused():
        code, details = await refused(gateway.classify("oil", model="r8@canary"))
        return code is grpc.StatusCode.DATA_LOSS and "signature" in details

    await eventually(is_refused)
    assert await _version(gateway, 1)
    registry.publish(good)
    registry.move(good)
    await eventually(lambda: _version(gateway, 4))


async def test_a_call_whose_worker_left_goes_to_it_again_when_it_is_back(gateway, fake_platform):
    gateway.platform.worker.failures = [fake_platform.unavailable()]
    assert (await gateway.classify("oil")).version == 1
    assert len(gateway.platform.worker.calls) == 2
    gateway.platform.worker.failures = [fake_platform.unavailable(), fake_platform.unavailable()]
    code, details = await refused(gateway.classify("oil"))
    assert (code, "worker" in details) == (grpc.StatusCode.UNAVAILABLE, True)
    assert [event.code for event in await eventually(lambda: _at_least(gateway, 2))] == ["OK", "UNAVAILABLE"]


def _at_least(gateway, count):
    events = gateway.events()
    return events if len(events) >= count else None


async def test_a_slow_tokenizer_costs_no_more_than_the_deadline(gateway):
    gateway.platform.tokenizer.latency_s = 10.0
    started_s = asyncio.get_running_loop().time()
    code, _ = await refused(gateway.classify("oil", timeout_s=0.3))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert asyncio.get_running_loop().time() - started_s < 1.0
    (event,) = await eventually(lambda: _at_least(gateway, 1))
    assert event.code == "DEADLINE_EXCEEDED"
    assert gateway.platform.worker.calls == []


async def test_the_protocols_questions_are_answered(gateway):
    auth = {"metadata": gateway.auth(), "timeout": 5}
    assert (await gateway.oip.ServerLive(oip_pb2.ServerLiveRequest(), **auth)).live
    assert (await gateway.oip.ServerReady(oip_pb2.ServerReadyRequest(), **auth)).ready
    assert (await gateway.oip.ServerMetadata(oip_pb2.ServerMetadataRequest(), **auth)).name == "dragoman"
    for name, version in (("r8", ""), ("r8@prod", ""), ("r8", "1")):
        assert (await gateway.oip.ModelReady(oip_pb2.ModelReadyRequest(name=name, version=version), **auth)).ready
    metadata = await gateway.oip.ModelMetadata(oip_pb2.ModelMetadataRequest(name="r8"), **auth)
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("r8", ["1"], "dragoman")
    assert [(t.name, t.datatype, list(t.shape)) for t in [*metadata.inputs, *metadata.outputs]] == [
        ("text", "BYTES", [-1]),
        ("label", "BYTES", [-1]),
        ("scores", "FP32", [-1, 3]),
    ]
    assert json.loads(metadata.properties["labels"]) == ["acq", "earn", "grain"]
    assert metadata.properties["max_text_bytes"] == "1000"
    index = await gateway.oip.RepositoryIndex(oip_pb2.RepositoryIndexRequest(), **auth)
    assert [(m.name, m.version, m.state) for m in index.models] == [("r8", "1", "READY")]
    listed = await gateway.own.ListModels(pb.ListModelsRequest(), **auth)
    assert [(m.model, m.alias, m.version, m.is_ready) for m in listed.models] == [("r8", "prod", 1, True)]
    stranger = {"metadata": gateway.auth(tenant="acme"), "timeout": 5}
    assert not (await gateway.own.ListModels(pb.ListModelsRequest(), **stranger)).models
    assert not (await gateway.oip.RepositoryIndex(oip_pb2.RepositoryIndexRequest(), **stranger)).models
    for call in (
        gateway.oip.RepositoryModelLoad(oip_pb2.RepositoryModelLoadRequest(model_name="r8"), **auth),
        gateway.oip.RepositoryModelUnload(oip_pb2.RepositoryModelUnloadRequest(model_name="r8"), **auth),
    ):
        code, details = await refused(call)
        assert (code, "alias" in details) == (grpc.StatusCode.UNIMPLEMENTED, True)
    code, _ = await refused(gateway.oip.ModelReady(oip_pb2.ModelReadyRequest(name="r9"), **auth))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_malformed_protobuf_is_the_callers_fault(gateway):
    call = gateway.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    code, _ = await refused(call(b"\xff\xff", metadata=gateway.auth(), timeout=5))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_feedback_is_durable_and_carries_the_senders_tenant(gateway):
    answer = await gateway.classify("oil")
    items = [pb.FeedbackItem(request_id=answer.request_id, row=0, true_label="grain")]
    reply = await gateway.own.SendFeedback(
        pb.SendFeedbackRequest(items=items), metadata=gateway.auth(tenant="acme"), timeout=5
    )
    assert reply.num_accepted == 1
    (event,) = gateway.events("dragoman.feedback")
    assert (event.tenant, event.request_id, event.row, event.true_label) == ("acme", answer.request_id, 0, "grain")


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"request_id": "nonsense"}, "items[0].request_id"),
        ({"row": -1}, "items[0].row"),
        ({"row": 256}, "items[0].row"),
        ({"true_label": ""}, "items[0].true_label"),
        ({"true_label": "x" * 513}, "items[0].true_label has 513 bytes; send 1 to 512"),
        ({"true_label": "a\nb"}, "items[0].true_label"),
    ],
)
async def test_feedback_that_cannot_be_right_is_refused(gateway, item, text):
    made = pb.FeedbackItem(**({"request_id": "0" * 32, "row": 0, "true_label": "grain"} | item))
    call = gateway.own.SendFeedback(pb.SendFeedbackRequest(items=[made]), metadata=gateway.auth(), timeout=5)
    code, details = await refused(call)
    assert (code, text in details) == (grpc.StatusCode.INVALID_ARGUMENT, True), details
    assert gateway.events("dragoman.feedback") == []


async def test_what_users_send_is_in_no_log_line(gateway, caplog):
    caplog.set_level(logging.DEBUG)
    canary = "canary-4711"
    await gateway.classify(canary)
    for texts in ([canary, ""], [canary * 100]):
        await refused(gateway.classify(*texts))
    await refused(
        gateway.oip.ModelInfer(raw_request(canary, model_name=canary + "!"), metadata=gateway.auth(), timeout=5)
    )
    gateway.platform.worker.failures = [RuntimeError("a defect"), RuntimeError("a defect")]
    code, details = await refused(gateway.classify(canary))
    assert (code, details) == (grpc.StatusCode.INTERNAL, "internal error")
    assert canary not in caplog.text
    assert canary.encode() not in (gateway.platform.folder / "events.db").read_bytes()


class Http:
    def __init__(self, gateway, session):
        self.gateway, self.session = gateway, session

    async def __call__(self, method, path, *, token=None, **options):
        token = self.gateway.platform.token() if token is None else token
        headers = ({"Authorization": f"Bearer {token}"} if token else {}) | options.pop("headers", {})
        async with self.session.request(method, self.gateway.url + path, headers=headers, **options) as response:
            return response.status, await response.json(), response.headers


@pytest.fixture
async def http(gateway):
    async with aiohttp.ClientSession() as session:
        yield Http(gateway, session)


def body(*texts, **members):
    return {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}]} | members


async def test_rest_says_the_same_as_grpc(http, gateway):
    own = await gateway.classify("grain exports", "oil")
    for path in ("/v2/models/r8/infer", "/v2/models/r8@prod/infer", "/v2/models/r8/versions/1/infer"):
        status, document, _ = await http("POST", path, json=body("grain exports", "oil", id="mine"))
        assert (status, document["id"], document["model_version"]) == (200, "mine", "1")
        label, scores = document["outputs"]
        assert label["data"] == [row.label for row in own.rows]
        np.testing.assert_array_equal(
            np.array(scores["data"], np.float32), np.concatenate([np.float32(row.scores) for row in own.rows])
        )
        assert document["parameters"]["dragoman_request_id"] in {event.request_id for event in gateway.events()}


async def test_rest_health_is_open_and_the_rest_is_not(http):
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert (await http("GET", path, token=""))[0] == 200
    closed = [
        ("GET", "/v2"),
        ("GET", "/v2/models/r8"),
        ("GET", "/v2/models/r8/ready"),
        ("POST", "/v2/models/r8/infer"),
        ("POST", "/v2/models/r8/versions/1/infer"),
        ("GET", "/nowhere"),
        ("GET", "/healthz/../v2"),
        ("DELETE", "/v2"),
    ]
    for method, path in closed:
        status, document, headers = await http(method, path, token="")
        assert (status, document["code"], headers["WWW-Authenticate"]) == (401, "UNAUTHENTICATED", "Bearer")


async def test_rest_describes_the_model(http):
    status, document, _ = await http("GET", "/v2/models/r8")
    assert (status, document["versions"], json.loads(document["properties"]["labels"])) == (
        200,
        ["1"],
        ["acq", "earn", "grain"],
    )
    assert (await http("GET", "/v2/models/r8/versions/1/ready"))[:2] == (200, {"name": "r8", "ready": True})
    assert (await http("GET", "/v2"))[1]["name"] == "dragoman"


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code", "text"),
    [
        ("POST", "/v2/models/r8/infer", {"json": body("a", "")}, 400, "INVALID_ARGUMENT", "text[1] is empty"),
        ("POST", "/v2/models/r8/infer", {"json": body("x" * 1_001)}, 400, "INVALID_ARGUMENT", "max_text_bytes = 1000"),
        ("POST", "/v2/models/r8/infer", {"data": b"{"}, 400, "INVALID_ARGUMENT", "not JSON"),
        ("POST", "/v2/models/r8/infer", {"data": io.BytesIO(b" " * 4_194_305)}, 413, "RESOURCE_EXHAUSTED", "4194304"),
        ("POST", "/v2/models/r8/infer", {"json": body("a"), "compress": "gzip"}, 400, "INVALID_ARGUMENT", "compressed"),
        ("POST", "/v2/models/r9/infer", {"json": body("a")}, 404, "NOT_FOUND", "r9"),
        ("POST", "/v2/models/r8/versions/x/infer", {"json": body("a")}, 400, "INVALID_ARGUMENT", "version"),
        ("GET", "/nowhere", {}, 404, "NOT_FOUND", "no such path"),
        ("GET", "/v2/models/r8/infer", {}, 405, "UNIMPLEMENTED", "GET"),
    ],
)
async def test_rest_refusals_have_one_table(http, method, path, options, status, code, text):
    found, document, _ = await http(method, path, **options)
    assert (found, document["code"], text in document["error"]) == (status, code, True), document


async def test_rest_caps_a_body_that_does_not_tell_its_length(http):
    num_chunks = 0

    async def endless():
        nonlocal num_chunks
        while True:
            num_chunks += 1
            yield b" " * 65_536

    # The client may see the connection close before it reads the answer.
    with suppress(aiohttp.ClientError):
        status, document, _ = await http("POST", "/v2/models/r8/infer", data=endless())
        assert (status, "4194304" in document["error"]) == (413, True)
    assert 64 < num_chunks < 640


async def test_rest_passes_on_permissions_and_failures(http, gateway, fake_platform):
    token = gateway.platform.token(models=["bbc"])
    assert (await http("POST", "/v2/models/r8/infer", token=token, json=body("a")))[0] == 403
    gateway.platform.worker.failures = [fake_platform.unavailable(), fake_platform.unavailable()]
    status, _, headers = await http("POST", "/v2/models/r8/infer", json=body("a"))
    assert (status, headers["Retry-After"]) == (503, "1")
    gateway.platform.worker.failures = [RuntimeError("a defect"), RuntimeError("a defect")]
    status, document, _ = await http("POST", "/v2/models/r8/infer", json=body("a"))
    assert (status, document) == (500, {"error": "internal error", "code": "INTERNAL"})
