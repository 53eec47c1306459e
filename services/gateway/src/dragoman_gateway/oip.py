# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol over gRPC, with the parts of Triton's extensions that have a meaning here."""
# ruff: noqa: ARG002, N802 - the names and signatures are the protocol's

from importlib.metadata import version as distribution_version
from typing import Any

from dragoman_common.auth import current_caller
from dragoman_common.errors import NotFoundError, UnimplementedError
from dragoman_gateway import oip_codec
from dragoman_gateway.call_meter import PREDICT, CallMeter
from dragoman_gateway.callers import principal_of
from dragoman_gateway.infer_contract import TEXT
from dragoman_gateway.limits import Limits
from dragoman_gateway.models import ModelDirectory
from dragoman_gateway.pipeline import Call, Pipeline
from dragoman_gateway.readiness import Readiness
from dragoman_gateway.selector import parse_selector, parse_version
from dragoman_gateway.user_tokens import USER
from inference import oip_pb2 as pb
from inference import oip_pb2_grpc as pb_grpc

SERVER_NAME = "dragoman"
EXTENSIONS = ("repository_index",)
_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
POLICY = {f"/{_SERVICE.full_name}/{method.name}": frozenset({USER}) for method in _SERVICE.methods}
_PLACEMENT = (
    "models are not loaded or unloaded by call: workers hold the versions that the registry's aliases point at; "
    "point an alias at the version instead"
)


def server_version() -> str:
    """The release that runs."""
    return distribution_version("dragoman-gateway")


class InferenceServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Raises DragomanErrors; the server turns them into statuses."""

    def __init__(
        self, pipeline: Pipeline, models: ModelDirectory, readiness: Readiness, limits: Limits, calls: CallMeter
    ) -> None:
        self._calls = calls
        self._pipeline = pipeline
        self._models = models
        self._readiness = readiness
        self._limits = limits

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Any) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Any) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._readiness.is_ready)

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Any) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=server_version(), extensions=EXTENSIONS)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:
        selector = parse_selector(request.name, parse_version(request.version, field="version"), field="name")
        is_ready = self._models.is_ready(principal_of(current_caller()), selector)
        return pb.ModelReadyResponse(ready=is_ready)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Any) -> pb.ModelMetadataResponse:
        selector = parse_selector(request.name, parse_version(request.version, field="version"), field="name")
        version, numbers = await self._models.describe(principal_of(current_caller()), selector)
        return oip_codec.metadata_to_pb(request.name, version, numbers, self._models.properties(version))

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        with self._calls.counted(PREDICT, "oip"):
            parsed = oip_codec.call_from_pb(request, self._limits)
            principal = principal_of(current_caller())
            call = Call(principal=principal, selector=parsed.selector, texts=parsed.texts, field=TEXT)
            return oip_codec.answer_to_pb(parsed, await self._pipeline.classify(call))

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Any) -> pb.RepositoryIndexResponse:
        if request.repository_name:
            raise NotFoundError("there is one repository, and it has no name; leave repository_name empty")
        entries = self._models.index(principal_of(current_caller()))
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(name=key.model, version=str(key.number), state=state)
                for key, state in entries
                if state == "READY" or not request.ready
            ]
        )

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Any
    ) -> pb.RepositoryModelLoadResponse:
        raise UnimplementedError(_PLACEMENT)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Any
    ) -> pb.RepositoryModelUnloadResponse:
        raise UnimplementedError(_PLACEMENT)
