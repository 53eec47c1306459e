# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The worker's gRPC face: the Open Inference Protocol on token ids, and WorkerService.

Owns which version a call means and whose it is. Not the tensors (convert.py), not the scores (engine.py). A caller sees
the versions of the tenant that it calls for, and no other; only WatchLoaded shows a platform service all of them.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration

from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman_common import deadline
from dragoman_common.auth import PLATFORM, PolicyTable, current_caller
from dragoman_common.errors import InvalidArgumentError, NotFoundError, UnavailableError, UnimplementedError
from dragoman_worker import convert, orca
from dragoman_worker.convert import CallLimits
from dragoman_worker.held_version import HeldVersion, State
from dragoman_worker.orca import OrcaReporter
from dragoman_worker.placement import Placement
from inference import oip_pb2, oip_pb2_grpc

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any

SERVER_NAME = "dragoman-worker"
MAX_CALL_WITHOUT_DEADLINE_S = 30.0

_CALLERS = frozenset({"gateway", "operator"})
POLICY: PolicyTable = {
    **{
        f"/inference.GRPCInferenceService/{method}": _CALLERS
        for method in (
            "ServerLive",
            "ServerReady",
            "ServerMetadata",
            "ModelReady",
            "ModelMetadata",
            "ModelInfer",
            "RepositoryIndex",
            "RepositoryModelLoad",
            "RepositoryModelUnload",
        )
    },
    "/dragoman.inference.v1.WorkerService/WatchLoaded": _CALLERS,
    **orca.POLICY,
}


class ModelVersionNotFoundError(NotFoundError):
    """This worker does not hold the version, or it is another tenant's: the answer is the same."""


class InferenceServicer(oip_pb2_grpc.GRPCInferenceServiceServicer):
    """Open Inference Protocol v2; see protos/inference/oip.proto."""

    def __init__(
        self,
        placement: Placement,
        reporter: OrcaReporter,
        *,
        version: str,
        max_rows: int,
        max_tokens: int,
        max_row_tokens: int,
    ) -> None:
        """Serve what placement holds.

        Args:
            placement: Finds versions.
            reporter: Counts the calls, and tells the load at the end of each.
            version: Of this software, for ServerMetadata.
            max_rows: Rows of one call.
            max_tokens: Tokens of one call.
            max_row_tokens: Tokens of one row, whatever the model allows: what fits a batch.
        """
        self._placement = placement
        self._reporter = reporter
        self._version = version
        self._max_rows = max_rows
        self._max_tokens = max_tokens
        self._max_row_tokens = max_row_tokens

    async def ModelInfer(  # noqa: N802 - the protocol's name
        self, request: oip_pb2.ModelInferRequest, context: Context
    ) -> oip_pb2.ModelInferResponse:
        """Score rows of token ids; the worker's load when it is done comes in the trailer, of a refusal too."""
        call = _Call()
        try:
            response = await self._infer(request, call)
        except BaseException as error:
            # A caller who has left is no fault of ours.
            is_error = isinstance(error, Exception) and not isinstance(error, InvalidArgumentError)
            self._reporter.meter.call_ended(is_error=is_error)
            raise
        else:
            self._reporter.meter.call_ended(num_tokens=call.num_tokens)
            return response
        finally:
            context.set_trailing_metadata(self._reporter.trailer(call.num_tokens))

    async def _infer(self, request: oip_pb2.ModelInferRequest, call: "_Call") -> oip_pb2.ModelInferResponse:
        left_s = deadline.remaining_s()
        caller = current_caller()
        deadline_s = asyncio.get_running_loop().time() + (MAX_CALL_WITHOUT_DEADLINE_S if left_s is None else left_s)
        number = convert.version_number(request.model_version)
        held = self._placement.find(caller.tenant, request.model_name, number)
        if held is None or held.manifest is None:
            # The registry knows which versions exist. Here it only means: not on this worker, or not yet.
            raise UnavailableError(f"this worker does not hold {request.model_name[:64]!r} version {number}")
        digest = convert.asked_digest(request)
        if digest and digest != held.ref.root_sha256:
            raise UnavailableError(
                f"this worker holds other content as {request.model_name[:64]!r} version {number} than {digest[:16]!r}"
            )
        engine = held.serving_engine()
        output = convert.output_name(held.manifest.task)
        rows = convert.rows_from_pb(request, self._limits(held), output=output)
        call.num_tokens = sum(row.size for row in rows)
        scores_NC = await engine.score(caller.tenant, rows, deadline_s)
        return convert.infer_response(request, scores_NC, held.ref.root_sha256, output=output)

    async def ServerLive(  # noqa: N802 - the protocol's name
        self, _request: oip_pb2.ServerLiveRequest, _context: Context
    ) -> oip_pb2.ServerLiveResponse:
        """The process is up."""
        return oip_pb2.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802 - the protocol's name
        self, _request: oip_pb2.ServerReadyRequest, _context: Context
    ) -> oip_pb2.ServerReadyResponse:
        """The aliases are known, and no version is loading for the first time."""
        return oip_pb2.ServerReadyResponse(ready=self._placement.is_settled)

    async def ServerMetadata(  # noqa: N802 - the protocol's name
        self, _request: oip_pb2.ServerMetadataRequest, _context: Context
    ) -> oip_pb2.ServerMetadataResponse:
        """Name, version and extensions."""
        return oip_pb2.ServerMetadataResponse(
            name=SERVER_NAME, version=self._version, extensions=["model_repository(index)"]
        )

    async def ModelReady(  # noqa: N802 - the protocol's name
        self, request: oip_pb2.ModelReadyRequest, _context: Context
    ) -> oip_pb2.ModelReadyResponse:
        """Tell whether a version, or any version where none is named, answers."""
        ready = self._ready(request.name)
        if request.version:
            number = convert.version_number(request.version)
            ready = [held for held in ready if held.ref.number == number]
        return oip_pb2.ModelReadyResponse(ready=bool(ready))

    async def ModelMetadata(  # noqa: N802 - the protocol's name
        self, request: oip_pb2.ModelMetadataRequest, _context: Context
    ) -> oip_pb2.ModelMetadataResponse:
        """Describe a version, or the newest that is ready where none is named."""
        ready = self._ready(request.name)
        number = convert.version_number(request.version) if request.version else None
        chosen = [held for held in ready if number is None or held.ref.number == number]
        newest = chosen[-1] if chosen else None
        if newest is None or newest.manifest is None:
            raise ModelVersionNotFoundError(
                f"no version of {request.name[:64]!r} is ready on this worker"
                if number is None
                else f"version {number} of {request.name[:64]!r} is not ready on this worker"
            )
        width = newest.serving_engine().num_labels
        numbers = [held.ref.number for held in ready]
        return convert.metadata_to_pb(request.name, numbers, newest.manifest, width=width)

    async def RepositoryIndex(  # noqa: N802 - the protocol's name
        self, request: oip_pb2.RepositoryIndexRequest, _context: Context
    ) -> oip_pb2.RepositoryIndexResponse:
        """List the tenant's versions on this worker."""
        held = sorted(self._placement.held(_tenant()), key=lambda one: one.ref)
        return oip_pb2.RepositoryIndexResponse(
            models=[convert.index_to_pb(one) for one in held if not request.ready or one.state is State.READY]
        )

    async def RepositoryModelLoad(  # noqa: N802 - the protocol's name
        self, _request: oip_pb2.RepositoryModelLoadRequest, _context: Context
    ) -> oip_pb2.RepositoryModelLoadResponse:
        """Refuse: see the message."""
        raise UnimplementedError("models are placed by the registry's aliases: point an alias to the version instead")

    async def RepositoryModelUnload(  # noqa: N802 - the protocol's name
        self, _request: oip_pb2.RepositoryModelUnloadRequest, _context: Context
    ) -> oip_pb2.RepositoryModelUnloadResponse:
        """Refuse: see the message."""
        raise UnimplementedError(
            "models are placed by the registry's aliases: point the alias to another version instead"
        )

    def _ready(self, name: str) -> list[HeldVersion]:
        held = self._placement.held(_tenant())
        return sorted(
            (one for one in held if one.ref.model == name and one.state is State.READY), key=lambda one: one.ref.number
        )

    def _limits(self, held: HeldVersion) -> CallLimits:
        of_model = self._max_row_tokens if held.manifest is None else held.manifest.input_limits.max_tokens
        return CallLimits(
            max_rows=self._max_rows,
            max_tokens=self._max_tokens,
            max_row_tokens=min(self._max_row_tokens, of_model),
            vocabulary_size=held.vocabulary_size,
        )


class _Call:
    """What is known of a call by the time it ends."""

    __slots__ = ("num_tokens",)

    def __init__(self) -> None:
        self.num_tokens = 0


class WorkerServicer(worker_pb2_grpc.WorkerServiceServicer):
    """What the worker holds, for the gateways that route to it."""

    def __init__(self, placement: Placement, *, heartbeat_period_s: float) -> None:
        self._placement = placement
        self._heartbeat_period_s = heartbeat_period_s

    async def WatchLoaded(  # noqa: N802 - the protocol's name
        self, _request: worker_pb2.WatchLoadedRequest, _context: Context
    ) -> AsyncIterator[worker_pb2.WatchLoadedResponse]:
        """Send everything held now, at each change, and at each heartbeat."""
        caller = current_caller()
        tenant = None if caller.identity in PLATFORM else caller.tenant
        while True:
            changed = self._placement.changed()
            yield self._snapshot(tenant)
            try:
                async with asyncio.timeout(self._heartbeat_period_s):
                    await changed.wait()
            except TimeoutError:
                continue

    def _snapshot(self, tenant: str | None) -> worker_pb2.WatchLoadedResponse:
        held = sorted(self._placement.held(tenant), key=lambda one: one.ref)
        engines = [one.engine for one in held if one.engine is not None]
        period = Duration()
        period.FromMilliseconds(int(self._heartbeat_period_s * 1000))
        return worker_pb2.WatchLoadedResponse(
            versions=[convert.loaded_to_pb(one) for one in held],
            load=worker_pb2.WorkerLoad(
                num_waiting=sum(engine.num_waiting for engine in engines),
                num_running=sum(engine.num_running for engine in engines),
                in_flight_tokens=sum(engine.in_flight_tokens for engine in engines),
            ),
            heartbeat_period=period,
        )


def _tenant() -> str:
    """The tenant that the caller calls for.

    Raises:
        InvalidArgumentError: a platform service that names none.
    """
    tenant = current_caller().tenant
    if not tenant:
        raise InvalidArgumentError("metadata: dragoman-tenant is missing")
    return tenant
