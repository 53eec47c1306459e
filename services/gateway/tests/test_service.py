# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The gateway as it is wired, over gRPC, between real servers that stand in for the rest of the platform."""

import asyncio
import json
import logging

import grpc
import numpy as np
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman_common.testing import TestKeys
from dragoman_gateway import oip, servicer
from dragoman_gateway.oip_codec import decode_bytes_tensor, encode_bytes_tensor
from dragoman_models.signing import SigningKey
from inference import oip_pb2

SERVED = servicer.POLICY | oip.POLICY


def raw_request(*texts, **members):
    tensor = oip_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[len(texts)])
    raw = encode_bytes_tensor(text.encode() for text in texts)
    members = {"model_name": "r8", "inputs": [tensor], "raw_input_contents": [raw]} | members
    return oip_pb2.ModelInferRequest(**members)


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
            code, _ = await gateway.refused(gateway.channel.unary_unary(method)(b"\xff", metadata=metadata, timeout=5))
            assert code is grpc.StatusCode.UNAUTHENTICATED, method
    stub = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    found = [reply async for reply in stub.ServerReflectionInfo(iter(asked), metadata=gateway.auth(), timeout=5)]
    services = {service.name for service in found[0].list_services_response.service}
    assert services == {method.split("/")[1] for method in [*SERVED, reflection, "/grpc.health.v1.Health/Check"]}


async def test_a_service_token_is_no_users_token(gateway):
    token = TestKeys().tokens("operator").token("gateway")
    code, _ = await gateway.refused(
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
    found, details = await gateway.refused(gateway.classify(*texts, **options))
    assert (found.name, text in details) == (code, True), details


async def test_an_alias_that_moves_moves_the_traffic(gateway):
    gateway.platform.publish(2)
    await gateway.eventually(lambda: _version(gateway, 2))


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
        code, details = await gateway.refused(gateway.classify("oil", model="r8@canary"))
        return code is grpc.StatusCode.DATA_LOSS and "signature" in details

    await gateway.eventually(is_refused)
    assert await _version(gateway, 1)
    registry.publish(good)
    registry.move(good)
    await gateway.eventually(lambda: _version(gateway, 4))


async def test_a_call_whose_worker_left_goes_to_it_again_when_it_is_back(gateway, fake_platform):
    gateway.platform.worker.failures = [fake_platform.unavailable()]
    assert (await gateway.classify("oil")).version == 1
    assert len(gateway.platform.worker.calls) == 2
    gateway.platform.worker.failures = [fake_platform.unavailable() for _ in range(3)]
    code, details = await gateway.refused(gateway.classify("oil"))
    assert (code, "worker" in details) == (grpc.StatusCode.UNAVAILABLE, True)
    assert [event.code for event in await gateway.eventually(lambda: _at_least(gateway, 2))] == ["OK", "UNAVAILABLE"]


def _at_least(gateway, count):
    events = gateway.events()
    return events if len(events) >= count else None


async def test_a_slow_tokenizer_costs_no_more_than_the_deadline(gateway):
    gateway.platform.tokenizer.latency_s = 10.0
    started_s = asyncio.get_running_loop().time()
    code, _ = await gateway.refused(gateway.classify("oil", timeout_s=1.5))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert asyncio.get_running_loop().time() - started_s < 8.0
    (event,) = await gateway.eventually(lambda: _at_least(gateway, 1))
    # The client hangs up when its own timer runs out, which may be seen first.
    assert event.code in {"DEADLINE_EXCEEDED", "CANCELLED"}
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
        code, details = await gateway.refused(call)
        assert (code, "alias" in details) == (grpc.StatusCode.UNIMPLEMENTED, True)
    code, _ = await gateway.refused(gateway.oip.ModelReady(oip_pb2.ModelReadyRequest(name="r9"), **auth))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_malformed_protobuf_is_the_callers_fault(gateway):
    call = gateway.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    code, _ = await gateway.refused(call(b"\xff\xff", metadata=gateway.auth(), timeout=5))
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
        ({"true_label": "x" * 129}, "items[0].true_label has 129 characters; send 1 to 128"),
        ({"true_label": "a\nb"}, "items[0].true_label"),
    ],
)
async def test_feedback_that_cannot_be_right_is_refused(gateway, item, text):
    made = pb.FeedbackItem(**({"request_id": "0" * 32, "row": 0, "true_label": "grain"} | item))
    call = gateway.own.SendFeedback(pb.SendFeedbackRequest(items=[made]), metadata=gateway.auth(), timeout=5)
    code, details = await gateway.refused(call)
    assert (code, text in details) == (grpc.StatusCode.INVALID_ARGUMENT, True), details
    assert gateway.events("dragoman.feedback") == []


async def test_what_users_send_is_in_no_log_line(gateway, caplog):
    caplog.set_level(logging.DEBUG)
    canary = "canary-4711"
    await gateway.classify(canary)
    for texts in ([canary, ""], [canary * 100]):
        await gateway.refused(gateway.classify(*texts))
    await gateway.refused(
        gateway.oip.ModelInfer(raw_request(canary, model_name=canary + "!"), metadata=gateway.auth(), timeout=5)
    )
    gateway.platform.worker.failures = [RuntimeError("a defect"), RuntimeError("a defect")]
    code, details = await gateway.refused(gateway.classify(canary))
    assert (code, details) == (grpc.StatusCode.INTERNAL, "internal error")
    assert canary not in caplog.text
    assert canary.encode() not in (gateway.platform.folder / "events.db").read_bytes()
