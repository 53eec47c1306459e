# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions through the gateway: by the SDK, by Triton's own client, alone and in a crowd."""

import asyncio
import json
import os
import random
import subprocess
import urllib.request

import pytest

from dragoman_client.async_client import AsyncClient
from tests.integration import corpus
from tests.peers.environment import TRITON_PEER, tritonclient_python


@pytest.fixture(scope="module")
def texts():
    rng = random.Random(7)
    return [
        corpus.text_of(corpus.LABELS[index % 4], length, rng)
        for index, length in enumerate((1, 10, 500, 3, 40, 250) * 4)
    ]


def test_sdk_classifies_with_scores_in_the_order_of_the_labels(trained, texts):
    with trained.client() as client:
        answer = client.classify("topics", texts)
    assert (answer.version, answer.labels) == (2, corpus.LABELS)
    for row in answer.rows:
        assert sum(row.scores) == pytest.approx(1, abs=1e-5)
        assert row.label == answer.labels[max(range(4), key=row.scores.__getitem__)]


def test_model_is_addressed_by_alias_and_by_version(trained, texts):
    trained.run("alias", "topics", "canary", "1", "--reason", "the other one")
    with trained.client() as client:
        assert client.classify("topics", texts[:1]).version == 2
        assert client.classify("topics@canary", texts[:1]).version == 1
        assert client.classify("topics", texts[:1], version=1).version == 1


async def test_scores_are_the_same_alone_and_among_32_concurrent_mixed_length_clients(trained, texts):
    async with AsyncClient(trained.target, trained.token()) as client:
        alone = {text: (await client.classify("topics", [text])).rows[0].scores for text in texts}

        async def crowd(seed):
            rng = random.Random(seed)
            off = 0.0
            for _ in range(12):
                batch = rng.sample(texts, rng.randint(1, 6))
                answer = await client.classify("topics", batch, timeout_s=30)
                for text, row in zip(batch, answer.rows, strict=True):
                    off = max(off, *(abs(a - b) for a, b in zip(alone[text], row.scores, strict=True)))
            return off

        offs = await asyncio.gather(*(crowd(seed) for seed in range(32)))
    assert max(offs) <= 1e-5


@pytest.mark.slow
def test_tritonclient_classifies_raw_and_typed_and_is_refused_what_it_must_be(trained, texts):
    run = subprocess.run(
        [tritonclient_python(), TRITON_PEER, "--target", trained.target, "--model", "topics"],
        input=json.dumps(texts[:3]),
        env=os.environ | {"DRAGOMAN_TOKEN": trained.token(), "DRAGOMAN_EXPIRED_TOKEN": trained.expired_token()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    with trained.client() as client:
        expected = client.classify("topics", texts[:3])
    seen = json.loads(run.stdout)
    assert all(seen[name] for name in ("server_live", "server_ready", "model_ready"))
    for form in ("raw", "typed"):
        assert seen[form]["labels"] == [row.label for row in expected.rows]
        for scores, row in zip(seen[form]["scores"], expected.rows, strict=True):
            assert scores == pytest.approx(row.scores, abs=1e-5)
    assert seen["typed"]["has_raw"] is False
    assert seen["scores_only"] == {"outputs": ["scores"]}
    assert {name: refusal["status"] for name, refusal in seen["refusals"].items()} == {
        "expired_token": "StatusCode.UNAUTHENTICATED",
        "no_token": "StatusCode.UNAUTHENTICATED",
        "empty_text": "StatusCode.INVALID_ARGUMENT",
        "unknown_model": "StatusCode.NOT_FOUND",
        "unknown_parameter": "StatusCode.INVALID_ARGUMENT",
        "unknown_output": "StatusCode.INVALID_ARGUMENT",
    }


def test_rest_infer_answers_as_grpc_does(trained, texts):
    body = {"id": "mine", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": texts[:2]}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{trained.http_port}/v2/models/topics/infer",
        data=json.dumps(body).encode(),
        headers={"authorization": f"Bearer {trained.token()}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    outputs = {output["name"]: output for output in answer["outputs"]}
    with trained.client() as client:
        expected = client.classify("topics", texts[:2])
    assert answer["id"] == "mine"
    assert outputs["label"]["data"] == [row.label for row in expected.rows]
    assert outputs["scores"]["shape"] == [2, 4]
    assert outputs["scores"]["data"] == pytest.approx(
        [score for row in expected.rows for score in row.scores], abs=1e-5
    )
