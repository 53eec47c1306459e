# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The gRPC face: answers raw and typed, every refusal with its code, tenants apart, what is held as it changes."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest

from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman_common.auth import calling_as
from dragoman_common.server import Service
from dragoman_common.testing import running
from dragoman_models.architecture import load_classifier
from dragoman_models.package import parse_model_config
from dragoman_worker.load import LoadMeter
from dragoman_worker.orca import OrcaReporter, OrcaServicer
from dragoman_worker.resource_usage import ResourceUsage
from dragoman_worker.servicer import POLICY, InferenceServicer, WorkerServicer
from inference import oip_pb2, oip_pb2_grpc
from xds.service.orca.v3 import orca_pb2_grpc

ROWS = [[3, 5, 7], [9], [1, 2]]


def infer_request(rows=ROWS, *, is_raw=True, version="1", model="r8", digest=""):
    ids = np.array([one for row in rows for one in row], dtype="<i4")
    lengths = np.array([len(row) for row in rows], dtype="<i4")
    request = oip_pb2.ModelInferRequest(model_name=model, model_version=version, id="mine")
    for name, values in (("token_ids", ids), ("lengths", lengths)):
        tensor = request.inputs.add(name=name, datatype="INT32", shape=[values.size])
        if is_raw:
            request.raw_input_contents.append(values.tobytes())
        else:
            tensor.contents.int_contents.extend(values.tolist())
    if digest:
        request.parameters["dragoman_digest"].string_param = digest
    return request


def scores_of(files, rows=ROWS):
    classifier = load_classifier(parse_model_config(files["model.json"]), files["weights.safetensors"])
    return classifier.score([np.array(row, dtype=np.int32) for row in rows])


def services(placement):
    reporter = OrcaReporter(LoadMeter(placement.engines), ResourceUsage(None))
    inference = InferenceServicer(placement, reporter, version="0", max_rows=8, max_tokens=600, max_row_tokens=4096)
    watching = WorkerServicer(placement, heartbeat_period_s=0.05)
    return [
        Service(register=oip_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, servicer=inference),
        Service(register=worker_pb2_grpc.add_WorkerServiceServicer_to_server, servicer=watching),
        Service(register=orca_pb2_grpc.add_OpenRcaServiceServicer_to_server, servicer=OrcaServicer(reporter)),
    ]


@asynccontextmanager
async def stubs(follower, identity="gateway"):
    async with (
        running(services(follower.placement), POLICY, name="worker") as server,
        server.channel(identity) as channel,
    ):
        yield oip_pb2_grpc.GRPCInferenceServiceStub(channel), worker_pb2_grpc.WorkerServiceStub(channel)


async def code_of(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return failure.value.code(), failure.value.details()


@pytest.fixture
async def serving(world, follow, linear_package):
    world.point(world.publish(1, linear_package(1)))
    follower = await follow()
    await follower.until_states({1: "READY"})
    return follower


async def test_raw_call_is_answered_raw_and_typed_call_typed(serving, linear_package):
    async with stubs(serving) as (oip, _):
        with calling_as("local"):
            raw = await oip.ModelInfer(infer_request())
            typed = await oip.ModelInfer(infer_request(is_raw=False))
    expected = scores_of(linear_package(1))
    assert raw.id == "mine"
    assert raw.model_version == "1"
    assert (raw.outputs[0].name, raw.outputs[0].datatype, list(raw.outputs[0].shape)) == ("scores", "FP32", [3, 3])
    assert not raw.outputs[0].HasField("contents")
    found = np.frombuffer(raw.raw_output_contents[0], dtype="<f4").reshape(3, 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not typed.raw_output_contents
    np.testing.assert_allclose(np.array(typed.outputs[0].contents.fp32_contents).reshape(3, 3), expected, atol=1e-6)


async def test_call_that_names_another_digest_is_sent_elsewhere(serving):
    digest = serving.held(1).ref.root_sha256
    async with stubs(serving) as (oip, _):
        with calling_as("local"):
            answer = await oip.ModelInfer(infer_request(digest=digest))
            assert answer.parameters["dragoman_digest"].string_param == digest
            code, details = await code_of(oip.ModelInfer(infer_request(digest="0" * 64)))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "other content" in details


async def test_another_tenant_sees_nothing_and_is_answered_as_for_what_does_not_exist(serving):
    async with stubs(serving) as (oip, watching):
        with calling_as("other"):
            foreign = await code_of(oip.ModelInfer(infer_request()))
            assert not (await oip.ModelReady(oip_pb2.ModelReadyRequest(name="r8", version="1"))).ready
            assert not (await oip.RepositoryIndex(oip_pb2.RepositoryIndexRequest())).models
            metadata = await code_of(oip.ModelMetadata(oip_pb2.ModelMetadataRequest(name="r8", version="1")))
        with calling_as("local"):
            missing = await code_of(oip.ModelInfer(infer_request(version="2")))
        assert foreign[0] is missing[0] is grpc.StatusCode.UNAVAILABLE
        assert foreign[1].replace("version 1", "version 2") == missing[1]
        assert metadata[0] is grpc.StatusCode.NOT_FOUND
    async with stubs(serving, "operator") as (_, watching):
        call = watching.WatchLoaded(worker_pb2.WatchLoadedRequest(), timeout=10)
        assert [one.number for one in (await call.read()).versions] == [1]
        call.cancel()


async def test_metadata_index_and_readiness(serving):
    async with stubs(serving) as (oip, _):
        with calling_as("local"):
            assert (await oip.ServerLive(oip_pb2.ServerLiveRequest())).live
            assert (await oip.ServerReady(oip_pb2.ServerReadyRequest())).ready
            assert (await oip.ServerMetadata(oip_pb2.ServerMetadataRequest())).name == "dragoman-worker"
            assert (await oip.ModelReady(oip_pb2.ModelReadyRequest(name="r8"))).ready
            metadata = await oip.ModelMetadata(oip_pb2.ModelMetadataRequest(name="r8"))
            index = await oip.RepositoryIndex(oip_pb2.RepositoryIndexRequest(ready=True))
            for refused in (
                oip.RepositoryModelLoad(oip_pb2.RepositoryModelLoadRequest(model_name="r8")),
                oip.RepositoryModelUnload(oip_pb2.RepositoryModelUnloadRequest(model_name="r8")),
            ):
                code, details = await code_of(refused)
                assert code is grpc.StatusCode.UNIMPLEMENTED
                assert "alias" in details
    assert list(metadata.versions) == ["1"]
    assert metadata.properties["labels"] == '["a", "b", "c"]'
    assert [(one.name, one.datatype, list(one.shape)) for one in (*metadata.inputs, *metadata.outputs)] == [
        ("token_ids", "INT32", [-1]),
        ("lengths", "INT32", [-1]),
        ("scores", "FP32", [-1, 3]),
    ]
    assert [(one.name, one.version, one.state) for one in index.models] == [("r8", "1", "READY")]


def damaged_requests():
    def change(what, how):
        request = infer_request()
        how(request)
        return pytest.param(request, what, id=what)

    def typed(what, how):
        request = infer_request(is_raw=False)
        how(request)
        return pytest.param(request, what, id=what)

    def shape(*sizes):
        def set_shape(request):
            request.inputs[0].ClearField("shape")
            request.inputs[0].shape.extend(sizes)

        return set_shape

    def raw(index, values):
        def set_raw(request):
            request.raw_input_contents[index] = np.array(values, dtype="<i4").tobytes()
            request.inputs[index].shape[0] = len(values)

        return set_raw

    yield change("model_version: ''", lambda r: r.ClearField("model_version"))
    yield change("model_version: '-1'", lambda r: setattr(r, "model_version", "-1"))
    yield change("model_version: '99999999", lambda r: setattr(r, "model_version", "9" * 40))
    yield change("model_version: '²'", lambda r: setattr(r, "model_version", "²"))
    yield change("inputs: must be", lambda r: r.inputs.add(name="text", datatype="BYTES", shape=[1]))
    yield change("inputs: must be", lambda r: setattr(r.inputs[0], "name", "lengths"))
    yield change("inputs: must be", lambda r: r.ClearField("inputs"))
    yield change("token_ids: datatype 'INT64'", lambda r: setattr(r.inputs[0], "datatype", "INT64"))
    yield change("token_ids: 2 dimensions", shape(2, 3))
    yield change("token_ids: 0 dimensions", shape())
    yield change("token_ids: shape [-1]", shape(-1))
    yield change("token_ids: shape [0]", shape(0))
    yield change("token_ids: shape [9223372036854775807]", shape(2**63 - 1))
    yield change("token_ids: 24 raw bytes", shape(7))
    yield change("token_ids: has contents beside", lambda r: r.inputs[0].contents.int_contents.append(1))
    yield change("raw_input_contents: 1 entries", lambda r: r.raw_input_contents.pop())
    yield change("outputs: this model answers", lambda r: r.outputs.add(name="label"))
    yield change("lengths: row 1 has 0 tokens", raw(1, [3, 0, 3]))
    yield change("lengths: row 2 has -1 tokens", raw(1, [3, 4, -1]))
    yield change("lengths: row 0 has 2147483647 tokens", raw(1, [2**31 - 1, 2**31 - 1]))
    yield change("lengths: sum to 5", raw(1, [3, 2]))
    yield change("lengths: shape [9], must be from [1] to [8]", raw(1, [1] * 9))
    yield change("lengths: row 0 has 513 tokens, must be from 1 to 512", raw(1, [513]))
    yield change("token_ids: ids must be from 0 to 99", raw(0, [1, 2, 3, 4, 5, 100]))
    yield change("token_ids: ids must be from 0 to 99", raw(0, [1, 2, 3, 4, 5, -1]))
    yield change("token_ids: shape [601]", raw(0, [1] * 601))
    yield typed("token_ids: 5 elements", lambda r: r.inputs[0].contents.int_contents.pop())
    yield typed("token_ids: 6 elements", lambda r: r.inputs[0].contents.fp32_contents.append(1.0))
    yield typed("parameters: dragoman_digest", lambda r: setattr(r.parameters["dragoman_digest"], "bool_param", True))


@pytest.mark.parametrize(("request_", "text"), list(damaged_requests()))
async def test_damaged_request_is_invalid_and_named(serving, request_, text):
    async with stubs(serving) as (oip, _):
        with calling_as("local"):
            code, details = await code_of(oip.ModelInfer(request_))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(text)


async def test_every_method_without_a_token_and_from_the_wrong_identity_is_refused(serving):
    async with running(services(serving.placement), POLICY, name="worker") as server:
        methods = [method for method in server.server.methods if not method.startswith("/grpc.health")]
        assert sorted(methods) == sorted(POLICY)
        async with grpc.aio.insecure_channel(server.target) as bare, server.channel("trainer") as trainer:
            for method in methods:
                kind = "unary_stream" if method.rpartition("/")[2].startswith(("Watch", "Stream")) else "unary_unary"
                for channel, expected in (
                    (bare, grpc.StatusCode.UNAUTHENTICATED),
                    (trainer, grpc.StatusCode.PERMISSION_DENIED),
                ):
                    call = getattr(channel, kind)(method)(b"\xff\xff", timeout=10)
                    code, _ = await code_of(call.read() if kind == "unary_stream" else call)
                    assert code is expected


async def test_watcher_sees_every_change_and_a_heartbeat(world, follow, linear_package):
    follower = await follow()
    await follower.placement.wait_settled()
    async with stubs(follower) as (_, watching):
        call = watching.WatchLoaded(worker_pb2.WatchLoadedRequest(), timeout=30)
        first = await call.read()
        assert list(first.versions) == []
        assert first.heartbeat_period.ToMilliseconds() == 50
        assert (await call.read()).versions == first.versions
        manifest = world.publish(1, linear_package(1))
        world.point(manifest)
        states = []
        while not states or states[-1] != worker_pb2.LOAD_STATE_READY:
            message = await call.read()
            states += [one.state for one in message.versions]
        call.cancel()
    assert worker_pb2.LOAD_STATE_LOADING in states
    ready = message.versions[0]
    assert (ready.tenant, ready.model, ready.number) == ("local", "r8", 1)
    assert ready.root_sha256 == manifest.root_sha256
    assert ready.num_starts == 1


async def test_call_ends_at_its_deadline_while_the_process_is_stopped(serving):
    import os
    import signal

    async with stubs(serving) as (oip, _):
        os.kill(serving.launcher.pid, signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        with calling_as("local"):
            started_s = loop.time()
            codes = await asyncio.gather(*(code_of(oip.ModelInfer(infer_request(), timeout=0.5)) for _ in range(20)))
        assert loop.time() - started_s < 0.75
        assert {code for code, _ in codes} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        os.kill(serving.launcher.pid, signal.SIGCONT)
