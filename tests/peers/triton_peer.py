# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The real tritonclient against a running gateway; prints what it saw as one JSON object.

Runs in an environment of its own (environment.py) and imports nothing of ours:

    DRAGOMAN_TOKEN=... DRAGOMAN_EXPIRED_TOKEN=... python triton_peer.py --target 127.0.0.1:9000 --model r8 < texts.json

`texts.json` is a JSON list of strings. Keys of the output: client, server_live, server_ready, model_ready, server,
metadata, index, raw, typed, scores_only, refusals. It exits 1 with a traceback when a call fails that must not.
"""

import argparse
import json
import os
import sys
from importlib.metadata import version
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

_TIMEOUT_S = 20


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the gateway's gRPC side")
    parser.add_argument("--model", required=True, help="a model's name, or name@alias")
    options = parser.parse_args()
    texts = json.load(sys.stdin)
    peer = Peer(options.target, options.model, os.environ["DRAGOMAN_TOKEN"])
    report = {
        "client": version("tritonclient"),
        **peer.health(),
        "metadata": peer.metadata(),
        "index": peer.index(),
        "raw": peer.infer_raw(texts),
        "typed": peer.infer_typed(texts),
        "scores_only": peer.infer_scores_only(texts),
        "refusals": peer.refusals(texts, os.environ["DRAGOMAN_EXPIRED_TOKEN"]),
    }
    json.dump(report, sys.stdout)


class Peer:
    """One client of one gateway."""

    def __init__(self, target: str, model: str, token: str) -> None:
        self._client = triton.InferenceServerClient(target)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(target))
        self._model = model
        self._token = token

    def _headers(self, token: str | None = None) -> dict[str, str]:
        return {"authorization": f"Bearer {token or self._token}"}

    def health(self) -> dict[str, Any]:
        headers = self._headers()
        server = self._client.get_server_metadata(headers=headers)
        return {
            "server_live": self._client.is_server_live(headers=headers),
            "server_ready": self._client.is_server_ready(headers=headers),
            "model_ready": self._client.is_model_ready(self._model, headers=headers),
            "server": {"name": server.name, "version": server.version},
        }

    def metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get_model_metadata(self._model, headers=self._headers(), as_json=True)
        # Triton's own message has no `properties`; the labels travel in a field that it keeps but does not know.
        return found

    def index(self) -> list[dict[str, str]]:
        found = self._client.get_model_repository_index(headers=self._headers())
        return [{"name": entry.name, "version": entry.version, "state": entry.state} for entry in found.models]

    def infer_raw(self, texts: list[str]) -> dict[str, Any]:
        """The way of tritonclient itself: BYTES in raw_input_contents."""
        result = self._client.infer(
            self._model, [_input(texts)], request_id="peer-raw", headers=self._headers(), client_timeout=_TIMEOUT_S
        )
        labels = [label.decode() for label in result.as_numpy("label")]
        return _seen(result.get_response(), labels, result.as_numpy("scores"))

    def infer_typed(self, texts: list[str]) -> dict[str, Any]:
        """BYTES in bytes_contents, through Triton's generated stubs."""
        tensor = service_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[len(texts)])
        tensor.contents.bytes_contents.extend(text.encode() for text in texts)
        request = service_pb2.ModelInferRequest(model_name=self._model, id="peer-typed", inputs=[tensor])
        metadata = tuple(self._headers().items())
        response = self._stub.ModelInfer(request, metadata=metadata, timeout=_TIMEOUT_S)
        # Read from the message: InferResult.as_numpy of typed BYTES fails under NumPy 2 (it forbids a copy it needs).
        outputs = {tensor.name: tensor for tensor in response.outputs}
        labels = [label.decode() for label in outputs["label"].contents.bytes_contents]
        scores = np.array(outputs["scores"].contents.fp32_contents, np.float32).reshape(list(outputs["scores"].shape))
        return _seen(response, labels, scores) | {"has_raw": bool(response.raw_output_contents)}

    def infer_scores_only(self, texts: list[str]) -> dict[str, Any]:
        """One output by name, with parameters that clients of the protocol may set."""
        result = self._client.infer(
            self._model,
            [_input(texts)],
            outputs=[triton.InferRequestedOutput("scores")],
            priority=1,
            timeout=5_000_000,
            headers=self._headers(),
            client_timeout=_TIMEOUT_S,
        )
        return {"outputs": [tensor.name for tensor in result.get_response().outputs]}

    def refusals(self, texts: list[str], expired_token: str) -> dict[str, dict[str, str]]:
        """Calls that must fail, by what is wrong with them."""
        attempts: dict[str, Any] = {
            "expired_token": {"headers": self._headers(expired_token)},
            "no_token": {"headers": {}},
            "empty_text": {"inputs": [_input([*texts, ""])]},
            "unknown_model": {"model_name": "no-such-model"},
            "unknown_parameter": {"parameters": {"temperature": 0.5}},
            "unknown_output": {"outputs": [triton.InferRequestedOutput("logits")]},
        }
        found = {}
        for name, change in attempts.items():
            call = {"model_name": self._model, "inputs": [_input(texts)], "headers": self._headers()} | change
            try:
                self._client.infer(**call, client_timeout=_TIMEOUT_S)
            except InferenceServerException as error:
                found[name] = {"status": error.status(), "message": error.message()}
            else:
                found[name] = {"status": "OK", "message": ""}
        return found


def _input(texts: list[str]) -> Any:
    tensor = triton.InferInput("text", [len(texts)], "BYTES")
    return tensor.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=np.object_))


def _seen(response: Any, labels: list[str], scores: Any) -> dict[str, Any]:
    return {
        "id": response.id,
        "model_name": response.model_name,
        "model_version": response.model_version,
        "request_id": response.parameters["dragoman_request_id"].string_param,
        "labels": labels,
        "scores": scores.tolist(),
    }


if __name__ == "__main__":
    main()
