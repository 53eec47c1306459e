# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Open Inference Protocol messages to rows of token ids, and scores back. Pure.

Owns every check on a request's tensors; nothing is allocated before its size is checked, and every size is a Python
integer. Shape legend: N rows, T tokens of all rows, C labels.

    token_ids INT32 [T], lengths INT32 [N] -> N rows of ids            scores_NC -> scores FP32 [N, C]
                                                                       (or embedding FP32 [N, D])
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dragoman.inference.v1 import worker_pb2
from dragoman_common.errors import InvalidArgumentError
from dragoman_models.package import EMBEDDING
from dragoman_models.record import VersionManifest
from dragoman_worker.held_version import HeldVersion, State
from dragoman_worker.request import Scores, TokenIds
from inference import oip_pb2

TOKEN_IDS = "token_ids"  # noqa: S105 - a tensor's name
LENGTHS = "lengths"
SCORES = "scores"
EMBEDDINGS = "embedding"
DIGEST_PARAMETER = "dragoman_digest"
PLATFORM = "dragoman"
MAX_VERSION = 2**53 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CallLimits:
    """What one ModelInfer call may hold.

    Attributes:
        max_rows: N.
        max_tokens: T.
        max_row_tokens: Tokens of one row: the model's limit, and never more than a batch may hold.
        vocabulary_size: Ids are below it; None where it is not known, then the model checks.
    """

    max_rows: int
    max_tokens: int
    max_row_tokens: int
    vocabulary_size: int | None


def version_number(text: str) -> int:
    """Read a model_version.

    Raises:
        InvalidArgumentError: not a positive decimal number.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and 0 < int(text) <= MAX_VERSION):
        raise InvalidArgumentError(f"model_version: {text[:32]!r} must be a version's number, such as 3")
    return int(text)


def asked_digest(request: oip_pb2.ModelInferRequest) -> str:
    """Return the root digest that the answering version must have; empty when the call does not say.

    Raises:
        InvalidArgumentError: the parameter is no text.
    """
    if DIGEST_PARAMETER not in request.parameters:
        return ""
    parameter = request.parameters[DIGEST_PARAMETER]
    if parameter.WhichOneof("parameter_choice") != "string_param":
        raise InvalidArgumentError(f"parameters: {DIGEST_PARAMETER} must be a string")
    return parameter.string_param


def output_name(task: str) -> str:
    """Return the name of the one tensor that a model of this task answers."""
    return EMBEDDINGS if task == EMBEDDING else SCORES


def rows_from_pb(request: oip_pb2.ModelInferRequest, limits: CallLimits, *, output: str = SCORES) -> list[TokenIds]:
    """Return the rows of a call; output is what the model answers.

    Raises:
        InvalidArgumentError: any tensor is absent, unknown, repeated, of another type, shape or size than it says, or
            outside the limits; the message names the tensor and the limit.
    """
    unknown = [wanted.name for wanted in request.outputs if wanted.name != output]
    if unknown or len(request.outputs) > 1:
        raise InvalidArgumentError(f"outputs: this model answers {output!r} only; ask for it alone, or for none")
    names = sorted(tensor.name for tensor in request.inputs)
    if names != sorted((TOKEN_IDS, LENGTHS)):
        raise InvalidArgumentError(
            f"inputs: must be {TOKEN_IDS!r} and {LENGTHS!r}, once each; found {', '.join(names[:4])[:200]!r}"
        )
    is_raw = is_asked_raw(request)
    if is_raw and len(request.raw_input_contents) != len(request.inputs):
        raise InvalidArgumentError(
            f"raw_input_contents: {len(request.raw_input_contents)} entries for {len(request.inputs)} inputs"
        )
    limit_by_name = {TOKEN_IDS: limits.max_tokens, LENGTHS: limits.max_rows}
    tensors = {
        tensor.name: _int32(
            tensor, request.raw_input_contents[position] if is_raw else None, limit_by_name[tensor.name]
        )
        for position, tensor in enumerate(request.inputs)
    }
    return _split(tensors[TOKEN_IDS], tensors[LENGTHS], limits)


def is_asked_raw(request: oip_pb2.ModelInferRequest) -> bool:
    """A call that sends raw tensors is answered with raw ones, and a typed one with typed ones."""
    return len(request.raw_input_contents) > 0


def infer_response(
    request: oip_pb2.ModelInferRequest, scores_NC: Scores, digest: str, *, output: str = SCORES
) -> oip_pb2.ModelInferResponse:
    """Write the answer, under the name that output_name gives it."""
    response = oip_pb2.ModelInferResponse(
        model_name=request.model_name, model_version=request.model_version, id=request.id
    )
    response.parameters[DIGEST_PARAMETER].string_param = digest
    tensor = response.outputs.add(name=output, datatype="FP32", shape=scores_NC.shape)
    if is_asked_raw(request):
        response.raw_output_contents.append(scores_NC.astype("<f4", copy=False).tobytes())
    else:
        tensor.contents.fp32_contents.extend(scores_NC.ravel().tolist())
    return response


def metadata_to_pb(
    name: str, versions: Sequence[int], manifest: VersionManifest, *, width: int
) -> oip_pb2.ModelMetadataResponse:
    """Describe a version: its tensors, and in the properties what a client needs to read the answer.

    Args:
        name: The model's.
        versions: All that are ready.
        manifest: Of the version.
        width: Of a row of its answer.
    """
    response = oip_pb2.ModelMetadataResponse(
        name=name, versions=[str(number) for number in versions], platform=PLATFORM
    )
    response.inputs.add(name=TOKEN_IDS, datatype="INT32", shape=[-1])
    response.inputs.add(name=LENGTHS, datatype="INT32", shape=[-1])
    response.outputs.add(name=output_name(manifest.task), datatype="FP32", shape=[-1, width])
    properties: Mapping[str, str] = {
        "version": str(manifest.number),
        "digest": manifest.root_sha256,
        "task": manifest.task,
        "architecture": manifest.architecture,
        "labels": json.dumps(list(manifest.labels), ensure_ascii=False),
        "tokenizer": manifest.tokenizer.backend,
        "max_tokens": str(manifest.input_limits.max_tokens),
        "max_text_bytes": str(manifest.input_limits.max_text_bytes),
    }
    response.properties.update(properties)
    return response


_INDEX_STATE = {
    State.LOADING: "LOADING",
    State.READY: "READY",
    State.DRAINING: "UNLOADING",
    State.FAILED: "UNAVAILABLE",
}
_LOAD_STATE = {
    State.LOADING: worker_pb2.LOAD_STATE_LOADING,
    State.READY: worker_pb2.LOAD_STATE_READY,
    State.DRAINING: worker_pb2.LOAD_STATE_DRAINING,
    State.FAILED: worker_pb2.LOAD_STATE_FAILED,
}


def index_to_pb(held: HeldVersion) -> oip_pb2.RepositoryIndexResponse.ModelIndex:
    """One line of the repository index."""
    return oip_pb2.RepositoryIndexResponse.ModelIndex(
        name=held.ref.model, version=str(held.ref.number), state=_INDEX_STATE[held.state], reason=held.reason
    )


def loaded_to_pb(held: HeldVersion) -> worker_pb2.LoadedVersion:
    """One entry of WatchLoaded."""
    loaded = worker_pb2.LoadedVersion(
        tenant=held.ref.tenant,
        model=held.ref.model,
        number=held.ref.number,
        root_sha256=held.ref.root_sha256,
        state=_LOAD_STATE[held.state],
        reason=held.reason,
        num_starts=held.num_starts,
    )
    loaded.state_time.FromDatetime(held.state_time)
    return loaded


def _int32(tensor: oip_pb2.ModelInferRequest.InferInputTensor, raw: bytes | None, limit: int) -> NDArray[np.int32]:
    if tensor.datatype != "INT32":
        raise InvalidArgumentError(f"{tensor.name}: datatype {tensor.datatype[:32]!r}, must be INT32")
    if len(tensor.shape) != 1:
        raise InvalidArgumentError(f"{tensor.name}: {len(tensor.shape)} dimensions, must have one")
    size = int(tensor.shape[0])
    if not 0 < size <= limit:
        raise InvalidArgumentError(
            f"{tensor.name}: shape [{size}], must be from [1] to [{limit}]; send the rows in several calls"
        )
    if raw is None:
        contents = tensor.contents
        others = sum(len(getattr(contents, field.name)) for field in contents.DESCRIPTOR.fields) - len(
            contents.int_contents
        )
        if others or len(contents.int_contents) != size:
            raise InvalidArgumentError(
                f"{tensor.name}: {len(contents.int_contents)} elements in int_contents, the shape says {size}"
            )
        return np.array(contents.int_contents, dtype=np.int32)
    if tensor.HasField("contents"):
        raise InvalidArgumentError(f"{tensor.name}: has contents beside raw_input_contents; send one of them")
    if len(raw) != 4 * size:
        raise InvalidArgumentError(f"{tensor.name}: {len(raw)} raw bytes, shape [{size}] of INT32 needs {4 * size}")
    return np.frombuffer(raw, dtype="<i4").astype(np.int32, copy=False)


def _split(ids: NDArray[np.int32], lengths: NDArray[np.int32], limits: CallLimits) -> list[TokenIds]:
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < 1 or longest > limits.max_row_tokens:
        index = int(lengths.argmin() if shortest < 1 else lengths.argmax())
        raise InvalidArgumentError(
            f"{LENGTHS}: row {index} has {int(lengths[index])} tokens, must be from 1 to {limits.max_row_tokens}; "
            "truncate the text when it is encoded"
        )
    total = int(lengths.sum(dtype=np.int64))
    if total != ids.size:
        raise InvalidArgumentError(f"{LENGTHS}: sum to {total}, {TOKEN_IDS} has {ids.size} elements")
    top = np.iinfo(np.int32).max if limits.vocabulary_size is None else limits.vocabulary_size - 1
    if int(ids.min()) < 0 or int(ids.max()) > top:
        raise InvalidArgumentError(f"{TOKEN_IDS}: ids must be from 0 to {top}: encode with this version's tokenizer")
    return np.split(ids, np.cumsum(lengths, dtype=np.int64)[:-1])
