# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The HTTP side of the wired gateway: the same answers, one error table, and nothing before authentication."""

import asyncio
import io
import json
import logging
from contextlib import suppress

import aiohttp
import grpc
import numpy as np
import pytest

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman_common import auth_meter


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


async def test_both_faces_count_whom_they_do_not_let_in(http, gateway, monkeypatch):
    counted = []
    monkeypatch.setattr(auth_meter, "count", lambda error: counted.append(error.failure.value))
    assert (await http("GET", "/v2", token=""))[0] == 401
    assert (await http("GET", "/v2", token=gateway.platform.token(lifetime_s=-3600)))[0] == 401
    with pytest.raises(grpc.aio.AioRpcError):
        await gateway.own.ListModels(pb.ListModelsRequest(), timeout=10)
    assert (await http("GET", "/v2"))[0] == 200
    assert counted == ["no_credential", "expired_token", "no_credential"]


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
    gateway.platform.worker.failures = [fake_platform.unavailable() for _ in range(3)]
    status, _, headers = await http("POST", "/v2/models/r8/infer", json=body("a"))
    assert (status, headers["Retry-After"]) == (503, "1")
    gateway.platform.worker.failures = [RuntimeError("a defect"), RuntimeError("a defect")]
    status, document, _ = await http("POST", "/v2/models/r8/infer", json=body("a"))
    assert (status, document) == (500, {"error": "internal error", "code": "INTERNAL"})


async def test_a_body_whose_framing_is_broken_is_the_callers_fault_and_in_no_log_line(gateway, caplog):
    caplog.set_level(logging.DEBUG)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    head = (
        "POST /v2/models/r8/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {gateway.platform.token()}\r\nTransfer-Encoding: chunked\r\n\r\ncanary-4711\r\n\r\n"
    )
    writer.write(head.encode())
    status = await reader.readline()
    await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b" 400 " in status
    assert "request failed before its handler" in caplog.text
    assert "canary" not in caplog.text
