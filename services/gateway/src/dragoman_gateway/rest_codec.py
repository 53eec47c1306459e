# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol's JSON to calls and back. Pure; as strict as the gRPC side, with the same texts.

    body -> JSON object -> InferCall            Answer -> JSON object

Tensors travel as JSON only; the protocol's binary extension is the gRPC side's business.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dragoman_common.errors import InvalidArgumentError
from dragoman_gateway.infer_contract import (
    DIGEST_PARAMETER,
    LABEL,
    REQUEST_ID_PARAMETER,
    SCORES,
    TEXT,
    TRUNCATED_PARAMETER,
    InferCall,
    check_inputs,
    check_outputs,
    check_parameters,
    check_text_tensor,
    decode_texts,
)
from dragoman_gateway.limits import Limits
from dragoman_gateway.pipeline import Answer
from dragoman_gateway.selector import Selector
from dragoman_gateway.version import ServedVersion

_BINARY = frozenset({"binary_data", "binary_data_output"})


def parse_object(body: bytes) -> Mapping[str, Any]:
    """Read a request body.

    Raises:
        InvalidArgumentError: it is not one JSON object.
    """
    try:
        document = json.loads(body, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise InvalidArgumentError(
            "the body is not JSON; send one object, as the Open Inference Protocol says"
        ) from None
    if not isinstance(document, dict):
        raise InvalidArgumentError("the body is not a JSON object")
    return document


def call_from_json(document: Mapping[str, Any], selector: Selector, limits: Limits) -> InferCall:
    """Read a request; the path has named the model.

    Raises:
        InvalidArgumentError: names the field, and the limit where there is one.
    """
    _check_members(document, ("id", "parameters", "inputs", "outputs"), "the request")
    client_id = _text(document, "id", "")
    limits.check_client_id(client_id, field="id")
    _check_json_parameters(document, "parameters", limits)
    inputs = _objects(document, "inputs", limits)
    check_inputs([_text(tensor, "name") for tensor in inputs])
    (tensor,) = inputs
    _check_members(tensor, ("name", "shape", "datatype", "parameters", "data"), f"inputs: {TEXT}")
    _check_json_parameters(tensor, f"inputs: {TEXT}", limits)
    num_rows = check_text_tensor(_text(tensor, "datatype"), _shape(tensor), limits)
    outputs = _objects(document, "outputs", limits) if "outputs" in document else []
    for output in outputs:
        _check_members(output, ("name", "parameters"), "outputs")
        _check_json_parameters(output, "outputs", limits)
    return InferCall(
        selector=selector,
        texts=decode_texts(_elements(tensor, num_rows), limits),
        outputs=check_outputs([_text(output, "name") for output in outputs], limits),
        client_id=client_id,
    )


def answer_to_json(call: InferCall, answer: Answer) -> dict[str, Any]:
    """Write an answer: outputs in the order asked."""
    key, num_rows = answer.version.key, len(answer.rows)
    tensors = {
        LABEL: {"datatype": "BYTES", "shape": [num_rows], "data": [row.label for row in answer.rows]},
        SCORES: {
            "datatype": "FP32",
            "shape": [num_rows, len(answer.version.labels)],
            "data": [score for row in answer.rows for score in row.scores.tolist()],
        },
    }
    document = {
        "model_name": key.model,
        "model_version": str(key.number),
        "parameters": {
            REQUEST_ID_PARAMETER: answer.request_id,
            DIGEST_PARAMETER: key.root_sha256,
            TRUNCATED_PARAMETER: sum(row.truncated for row in answer.rows),
        },
        "outputs": [{"name": name, **tensors[name]} for name in call.outputs],
    }
    return document | ({"id": call.client_id} if call.client_id else {})


def metadata_to_json(
    name: str, version: ServedVersion, numbers: Sequence[int], properties: Mapping[str, str]
) -> dict[str, Any]:
    """Describe a version. `name` is the name that was asked for."""
    return {
        "name": name,
        "versions": [str(number) for number in numbers],
        "platform": "dragoman",
        "inputs": [{"name": TEXT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": LABEL, "datatype": "BYTES", "shape": [-1]},
            {"name": SCORES, "datatype": "FP32", "shape": [-1, len(version.labels)]},
        ],
        "properties": dict(properties),
    }


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # Two readers of one body could each believe another of the two.
        raise InvalidArgumentError("the body names a member twice")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _check_members(value: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise InvalidArgumentError(
            f"{where}: no member {unknown[0][:64]!r} is known here; known are {', '.join(known)}"
        )


def _check_json_parameters(value: Mapping[str, Any], where: str, limits: Limits) -> None:
    parameters = value.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidArgumentError(f"{where}: parameters is not an object")
    for name in sorted(_BINARY & set(parameters)):
        if parameters[name] is not False:
            raise InvalidArgumentError(f"{where}: {name} is not served over HTTP; send and ask for JSON, or use gRPC")
    check_parameters(parameters, where=where, limits=limits, allowed=_BINARY)


def _text(value: Mapping[str, Any], name: str, default: str | None = None) -> str:
    found = value.get(name, default)
    if not isinstance(found, str):
        raise InvalidArgumentError(f"{name} is missing, or not a string")
    return found


def _objects(value: Mapping[str, Any], name: str, limits: Limits) -> list[Mapping[str, Any]]:
    found = value.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InvalidArgumentError(f"{name} is missing, or not a list of objects")
    if len(found) > limits.max_tensors:
        raise InvalidArgumentError(f"{name}: {len(found)} tensors, at most {limits.max_tensors}; send fewer")
    return found


def _shape(tensor: Mapping[str, Any]) -> list[int]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(isinstance(size, int) and not isinstance(size, bool) for size in shape):
        raise InvalidArgumentError(f"{TEXT}: shape is missing, or not a list of whole numbers")
    return shape


def _elements(tensor: Mapping[str, Any], num_rows: int) -> list[bytes]:
    data = tensor.get("data")
    if not isinstance(data, list) or not all(isinstance(item, str) for item in data):
        raise InvalidArgumentError(f"{TEXT}: data is missing, or not a flat list of strings")
    if len(data) != num_rows:
        raise InvalidArgumentError(f"{TEXT}: shape says {num_rows} elements, data holds {len(data)}")
    try:
        return [item.encode() for item in data]
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{TEXT}: an element holds half a surrogate pair, which is not text") from None
