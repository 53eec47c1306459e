# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One rule for every face: each call is counted once, by the code that its caller gets."""

import asyncio
import io
from collections import Counter
from contextlib import suppress

import aiohttp
import pytest

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman_common.errors import OverloadedError
from dragoman_gateway import call_meter
from dragoman_gateway.call_meter import CallMeter
from inference import oip_pb2


@pytest.fixture
def counted(monkeypatch):
    """Attributes -> calls, of a gateway that starts after this."""
    found = Counter()

    class Recorder:
        def add(self, amount, attributes):
            found[attributes["operation"], attributes["face"], attributes["code"]] += amount

    monkeypatch.setattr(call_meter, "_calls", Recorder())
    return found


@pytest.fixture
async def gateway(counted, platform, running_gateway):
    async with running_gateway.gateway_running(platform, HTTP_MAX_CALLS="1") as made:
        yield made


def infer_request(text="oil", model="r8"):
    tensor = oip_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(text.encode())
    return oip_pb2.ModelInferRequest(model_name=model, inputs=[tensor])


# What is asked, and the code that each face answers.
CASES = {
    "OK": {},
    "INVALID_ARGUMENT": {"text": " "},
    "NOT_FOUND": {"model": "nosuch"},
    "PERMISSION_DENIED": {"claims": {"models": ["bbc"]}},
    "UNAVAILABLE": {"is_tokenizer_away": True},
}


@pytest.mark.parametrize(("code", "case"), CASES.items())
async def test_every_face_counts_a_call_once_and_by_the_same_code(gateway, counted, fake_platform, code, case):
    text, model, claims = case.get("text", "oil"), case.get("model", "r8"), case.get("claims", {})
    if case.get("is_tokenizer_away"):
        gateway.platform.tokenizer.inner.failures += [fake_platform.unavailable() for _ in range(9)]
    with suppress(Exception):
        await gateway.classify(text, model=model, **claims)
    with suppress(Exception):
        await gateway.oip.ModelInfer(infer_request(text, model), metadata=gateway.auth(**claims), timeout=10)
    headers = {"Authorization": f"Bearer {gateway.platform.token(**claims)}"}
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/v2/models/{model}/infer", json=body, headers=headers) as response,
    ):
        await response.read()
    assert counted == {("predict", face, code): 1 for face in ("gateway", "oip", "rest")}


async def test_calls_refused_before_their_version_is_looked_for_are_counted_too(gateway, counted):
    with suppress(Exception):
        await gateway.classify("oil", model="../r8")
    with suppress(Exception):
        await gateway.oip.ModelInfer(oip_pb2.ModelInferRequest(model_name="r8"), metadata=gateway.auth(), timeout=5)
    headers = {"Authorization": f"Bearer {gateway.platform.token()}"}
    url = f"{gateway.url}/v2/models/r8/infer"
    async with aiohttp.ClientSession(headers=headers) as session:
        for body in (b"{", b"x" * 5_000_000):
            async with session.post(url, data=io.BytesIO(body)) as response:
                await response.read()
    assert counted == {
        ("predict", "gateway", "INVALID_ARGUMENT"): 1,
        ("predict", "oip", "INVALID_ARGUMENT"): 1,
        ("predict", "rest", "INVALID_ARGUMENT"): 1,
        ("predict", "rest", "RESOURCE_EXHAUSTED"): 1,
    }


async def test_a_call_that_finds_the_door_full_is_counted_and_the_one_inside_once(gateway, counted):
    gateway.platform.tokenizer.is_open.clear()
    headers = {"Authorization": f"Bearer {gateway.platform.token()}"}
    url = f"{gateway.url}/v2/models/r8/infer"
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["oil"]}]}
    async with aiohttp.ClientSession(headers=headers) as session:
        inside = asyncio.ensure_future(session.post(url, json=body))
        await gateway.eventually(lambda: gateway.platform.tokenizer.tenants)
        async with session.post(url, json=body) as response:
            assert response.status == 429
        gateway.platform.tokenizer.is_open.set()
        assert (await inside).status == 200
    assert counted == {("predict", "rest", "RESOURCE_EXHAUSTED"): 1, ("predict", "rest", "OK"): 1}


async def test_feedback_is_counted_by_the_same_rule(gateway, counted):
    answer = await gateway.classify("oil")
    counted.clear()

    async def send(*labels, **claims):
        items = [pb.FeedbackItem(request_id=answer.request_id, row=0, true_label=label) for label in labels]
        with suppress(Exception):
            await gateway.own.SendFeedback(
                pb.SendFeedbackRequest(items=items), metadata=gateway.auth(**claims), timeout=5
            )

    await send("grain", "acq")
    await send("grain", "typo")
    await send("grain", models=["bbc"])
    await send()
    assert counted == {
        ("feedback", "gateway", "OK"): 1,
        ("feedback", "gateway", "INVALID_ARGUMENT"): 2,
        ("feedback", "gateway", "PERMISSION_DENIED"): 1,
    }


async def test_questions_about_models_and_callers_without_a_token_are_no_calls(gateway, counted):
    await gateway.own.ListModels(pb.ListModelsRequest(), metadata=gateway.auth(), timeout=5)
    await gateway.refused(gateway.own.Classify(pb.ClassifyRequest(), timeout=5))
    async with aiohttp.ClientSession() as session, session.post(f"{gateway.url}/v2/models/r8/infer") as response:
        assert response.status == 401
    assert counted == {}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OverloadedError("full"), "RESOURCE_EXHAUSTED"),
        (TimeoutError(), "DEADLINE_EXCEEDED"),
        (asyncio.CancelledError(), "CANCELLED"),
        (RuntimeError("a defect"), "INTERNAL"),
        (KeyError("of a face"), "NOT_FOUND"),
    ],
)
def test_every_way_to_end_has_a_code(error, code):
    found = []
    with (
        suppress(BaseException),
        CallMeter(lambda _, labels: found.append(labels["code"])).counted("predict", "rest", {KeyError: "NOT_FOUND"}),
    ):
        raise error
    assert found == [code]
