# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Calls to the tokenizer and to workers: the adapters of ports.Tokenizer and ports.Scorer.

    texts -> TokenizerService.Encode -> EncodedRows -> OIP ModelInfer (raw tensors) -> scores [N, C]

Both act for the call's tenant and inherit its deadline. A refusal of the gateway's own identity is the platform's fault
and never reads as if the user's token were refused.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import grpc
import numpy as np

from dragoman.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc
from dragoman_common.errors import (
    DeadlineExceededError,
    DragomanError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from dragoman_common.status import translated
from dragoman_gateway.load import LoadReport
from dragoman_gateway.orca import report_from_trailer
from dragoman_gateway.outcome import ContractBrokenError
from dragoman_gateway.ports import CallLostError, EncodedRows, Scores
from dragoman_gateway.version import VersionKey
from inference import oip_pb2, oip_pb2_grpc


class OnLoad(Protocol):
    def __call__(self, address: str, report: LoadReport, /, *, ended_tokens: int) -> None:
        """A worker told its load at the end of a call of so many tokens."""
        ...


@contextmanager
def calling(service: str) -> Iterator[None]:
    """Around a call to one of the platform's services: what its failure means for a user.

    Raises:
        UnavailableError: the service is away, or does not accept the gateway's identity.
        ContractBrokenError: the service failed by a defect.
        DragomanError: the service's own text, where it is about the user's request.
    """
    try:
        with translated():
            yield
    except (UnauthenticatedError, PermissionDeniedError, UnimplementedError) as error:
        raise UnavailableError(f"the {service} does not accept the gateway's calls; tell the operator") from error
    except DeadlineExceededError as error:
        raise DeadlineExceededError(f"the {service} did not answer in time; give the call more time") from error
    except CallLostError:
        raise
    except UnavailableError as error:
        raise UnavailableError(f"the {service} is away for the moment; send the call again") from error
    except DragomanError as error:
        # Codes without a meaning of their own (INTERNAL, UNKNOWN) arrive as the base class.
        if type(error) is DragomanError:
            raise ContractBrokenError(f"the {service} failed: {error.message}") from error
        raise


class TokenizerClient:
    """See ports.Tokenizer."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._stub = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
        self._timeout_s = timeout_s

    async def encode(self, key: VersionKey, texts: Sequence[str]) -> EncodedRows:
        version = tokenizer_pb2.VersionName(model=key.model, number=key.number, root_sha256=key.root_sha256)
        with calling("tokenizer"):
            response = await self._stub.Encode(
                tokenizer_pb2.EncodeRequest(version=version, texts=texts), timeout=self._timeout_s
            )
        return EncodedRows(
            token_ids=np.array(response.token_ids, dtype=np.int32),
            lengths=np.array(response.lengths, dtype=np.int32),
            truncated=tuple(response.truncated),
            num_unknown=tuple(response.num_unknown),
        )


class WorkerClient:
    """See ports.Scorer. Channels come and go with the workers (fleet.py)."""

    def __init__(self, *, timeout_s: float, on_load: OnLoad | None = None) -> None:
        """Give each call at most `timeout_s`, and `on_load` the load report that came with its end."""
        self._lines: dict[str, _Line] = {}
        self._timeout_s = timeout_s
        self._on_load = on_load

    def add(self, address: str, channel: grpc.aio.Channel) -> None:
        """Calls to `address` go by this channel from now on."""
        self._lines[address] = _Line(channel)

    def remove(self, address: str) -> Coroutine[Any, Any, None]:
        """Begin no more calls there. What is returned waits until the last one has ended, at its timeout if need be."""
        return self._lines.pop(address).until_idle()

    async def score(self, address: str, key: VersionKey, rows: EncodedRows) -> Scores:
        line = self._lines.get(address)
        if line is None:
            raise UnavailableError("the worker has gone; send the call again")
        with calling("worker"), line.used():
            call = line.stub.ModelInfer(_infer_request(key, rows), timeout=self._timeout_s)
            try:
                response = await call
            except grpc.aio.AioRpcError as failure:
                was_told = self._told(address, failure.trailing_metadata(), rows)
                if was_told and failure.code() is grpc.StatusCode.UNAVAILABLE:
                    raise CallLostError("the worker could not keep the call; send it again") from failure
                raise _as_unavailable_when_gone(failure) from failure
            self._told(address, await call.trailing_metadata(), rows)
        return _scores(response, len(rows.lengths))

    def _told(self, address: str, trailer: Any, rows: EncodedRows) -> bool:
        """Pass on the load that came with a call's end; whether there was one: it was a worker that ended the call."""
        report = report_from_trailer(trailer)
        if report is not None and self._on_load is not None:
            self._on_load(address, report, ended_tokens=len(rows.token_ids))
        return report is not None


class _Line:
    """A channel, and how many calls are on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub = oip_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._num_calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def used(self) -> Iterator[None]:
        self._num_calls += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._num_calls -= 1
            if not self._num_calls:
                self._idle.set()

    async def until_idle(self) -> None:
        await self._idle.wait()


def _as_unavailable_when_gone(failure: grpc.aio.AioRpcError) -> Exception:
    """A version that a worker reported ready and then says it does not hold has just left it: another may have it."""
    if failure.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
        return UnavailableError("the worker no longer holds the version")
    return failure


def _infer_request(key: VersionKey, rows: EncodedRows) -> oip_pb2.ModelInferRequest:
    tensor = oip_pb2.ModelInferRequest.InferInputTensor
    return oip_pb2.ModelInferRequest(
        model_name=key.model,
        model_version=str(key.number),
        parameters={"dragoman_digest": oip_pb2.InferParameter(string_param=key.root_sha256)},
        inputs=[
            tensor(name="token_ids", datatype="INT32", shape=[len(rows.token_ids)]),
            tensor(name="lengths", datatype="INT32", shape=[len(rows.lengths)]),
        ],
        outputs=[oip_pb2.ModelInferRequest.InferRequestedOutputTensor(name="scores")],
        raw_input_contents=[rows.token_ids.astype("<i4").tobytes(), rows.lengths.astype("<i4").tobytes()],
    )


def _scores(response: oip_pb2.ModelInferResponse, num_rows: int) -> Scores:
    places = [place for place, tensor in enumerate(response.outputs) if tensor.name == "scores"]
    if len(places) != 1 or len(response.raw_output_contents) != len(response.outputs):
        raise ContractBrokenError("the worker did not answer exactly one raw tensor named scores")
    tensor, raw = response.outputs[places[0]], response.raw_output_contents[places[0]]
    shape = tuple(int(size) for size in tensor.shape)
    if tensor.datatype != "FP32" or len(shape) != 2 or shape[0] != num_rows or shape[0] * shape[1] * 4 != len(raw):
        raise ContractBrokenError(f"the worker answered scores of {tensor.datatype} {shape} in {len(raw)} bytes")
    return np.frombuffer(raw, dtype="<f4").reshape(shape)
