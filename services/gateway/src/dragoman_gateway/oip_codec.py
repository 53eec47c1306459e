# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol's gRPC messages to calls and back. Pure; strict about counts, lengths and shapes.

    ModelInferRequest -> InferCall            Answer -> ModelInferResponse, raw when asked raw, typed when asked typed

A raw BYTES tensor is, per element, its length as a little-endian uint32 and then its bytes (protocol v2, binary tensor
data). Nothing is allocated for a number in the request before the bytes that it promises are there.
"""

import struct
from collections.abc import Iterable, Sequence

import numpy as np

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
from dragoman_gateway.selector import parse_selector, parse_version
from dragoman_gateway.version import ServedVersion
from inference import oip_pb2

_LENGTH = struct.Struct("<I")


def decode_bytes_tensor(raw: bytes, num_elements: int, *, field: str) -> list[bytes]:
    """Split a raw BYTES tensor into its elements.

    Raises:
        InvalidArgumentError: a length runs past the end, or bytes are left over.
    """
    if num_elements * _LENGTH.size > len(raw):
        raise InvalidArgumentError(
            f"{field}: shape says {num_elements} elements, the raw contents are too short for them"
        )
    elements = []
    offset = 0
    for row in range(num_elements):
        start = offset + _LENGTH.size
        if start > len(raw):
            raise InvalidArgumentError(f"{field}[{row}]: the raw contents end before its length")
        (size,) = _LENGTH.unpack_from(raw, offset)
        offset = start + size
        if offset > len(raw):
            raise InvalidArgumentError(
                f"{field}[{row}]: its length is {size}, the raw contents hold {len(raw) - start}"
            )
        elements.append(raw[start:offset])
    if offset != len(raw):
        raise InvalidArgumentError(f"{field}: {len(raw) - offset} bytes are left over after {num_elements} elements")
    return elements


def encode_bytes_tensor(elements: Iterable[bytes]) -> bytes:
    """The raw form of a BYTES tensor."""
    return b"".join(_LENGTH.pack(len(element)) + element for element in elements)


def call_from_pb(request: oip_pb2.ModelInferRequest, limits: Limits) -> InferCall:
    """Read a request.

    Raises:
        InvalidArgumentError: names the field, and the limit where there is one.
    """
    selector = parse_selector(request.model_name, parse_version(request.model_version), field="model_name")
    limits.check_client_id(request.id, field="id")
    check_parameters(request.parameters, where="parameters", limits=limits)
    if len(request.inputs) > limits.max_tensors:
        raise InvalidArgumentError(
            f"inputs: {len(request.inputs)} tensors, at most {limits.max_tensors}; send only text"
        )
    check_inputs([tensor.name for tensor in request.inputs])
    (tensor,) = request.inputs
    check_parameters(tensor.parameters, where=f"inputs: {TEXT}", limits=limits)
    num_rows = check_text_tensor(tensor.datatype, tensor.shape, limits)
    outputs = check_outputs([output.name for output in request.outputs[: limits.max_tensors + 1]], limits)
    for output in request.outputs:
        check_parameters(output.parameters, where=f"outputs: {output.name}", limits=limits)
    return InferCall(
        selector=selector,
        texts=decode_texts(_elements(request, tensor, num_rows), limits),
        outputs=outputs,
        client_id=request.id,
        is_raw=bool(request.raw_input_contents),
    )


def _elements(
    request: oip_pb2.ModelInferRequest, tensor: oip_pb2.ModelInferRequest.InferInputTensor, num_rows: int
) -> Sequence[bytes]:
    if request.raw_input_contents:
        if tensor.HasField("contents"):
            raise InvalidArgumentError(f"{TEXT}: send either its contents or raw_input_contents, not both")
        if len(request.raw_input_contents) != 1:
            raise InvalidArgumentError(
                f"raw_input_contents has {len(request.raw_input_contents)} entries for 1 input; send one for each"
            )
        return decode_bytes_tensor(request.raw_input_contents[0], num_rows, field=TEXT)
    if any(field.name != "bytes_contents" for field, _ in tensor.contents.ListFields()):
        raise InvalidArgumentError(f"{TEXT}: a BYTES tensor has bytes_contents and no others")
    if len(tensor.contents.bytes_contents) != num_rows:
        raise InvalidArgumentError(
            f"{TEXT}: shape says {num_rows} elements, bytes_contents holds {len(tensor.contents.bytes_contents)}"
        )
    return tensor.contents.bytes_contents


def answer_to_pb(call: InferCall, answer: Answer) -> oip_pb2.ModelInferResponse:
    """Write an answer: outputs in the order asked, in the encoding asked."""
    key, num_rows = answer.version.key, len(answer.rows)
    response = oip_pb2.ModelInferResponse(
        model_name=key.model,
        model_version=str(key.number),
        id=call.client_id,
        parameters={
            REQUEST_ID_PARAMETER: oip_pb2.InferParameter(string_param=answer.request_id),
            DIGEST_PARAMETER: oip_pb2.InferParameter(string_param=key.root_sha256),
            TRUNCATED_PARAMETER: oip_pb2.InferParameter(int64_param=sum(row.truncated for row in answer.rows)),
        },
    )
    scores_NC = np.stack([row.scores for row in answer.rows]).astype("<f4")
    labels = [row.label.encode() for row in answer.rows]
    for name in call.outputs:
        is_label = name == LABEL
        tensor = response.outputs.add(
            name=name,
            datatype="BYTES" if is_label else "FP32",
            shape=[num_rows] if is_label else [num_rows, scores_NC.shape[1]],
        )
        if call.is_raw:
            response.raw_output_contents.append(encode_bytes_tensor(labels) if is_label else scores_NC.tobytes())
        elif is_label:
            tensor.contents.bytes_contents.extend(labels)
        else:
            tensor.contents.fp32_contents.extend(scores_NC.ravel().tolist())
    return response


def metadata_to_pb(
    name: str, version: ServedVersion, numbers: Sequence[int], properties: dict[str, str]
) -> oip_pb2.ModelMetadataResponse:
    """Describe a version. `name` is the name that was asked for."""
    tensor = oip_pb2.ModelMetadataResponse.TensorMetadata
    return oip_pb2.ModelMetadataResponse(
        name=name,
        versions=[str(number) for number in numbers],
        platform="dragoman",
        inputs=[tensor(name=TEXT, datatype="BYTES", shape=[-1])],
        outputs=[
            tensor(name=LABEL, datatype="BYTES", shape=[-1]),
            tensor(name=SCORES, datatype="FP32", shape=[-1, len(version.labels)]),
        ],
        properties=properties,
    )
