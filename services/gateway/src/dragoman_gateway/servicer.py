# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""dragoman.gateway.v1: message -> pipeline, feedback desk or directory -> message. Owns the policy of its methods."""

from typing import Any

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman.gateway.v1 import gateway_pb2_grpc as pb_grpc
from dragoman_common.auth import current_caller
from dragoman_gateway.call_meter import FEEDBACK, PREDICT, CallMeter
from dragoman_gateway.callers import principal_of
from dragoman_gateway.feedback import FeedbackDesk, TrueLabel
from dragoman_gateway.limits import Limits
from dragoman_gateway.models import ModelDirectory
from dragoman_gateway.pipeline import Answer, Call, Pipeline
from dragoman_gateway.selector import parse_selector
from dragoman_gateway.user_tokens import USER

_FACE = "gateway"
_SERVICE = pb.DESCRIPTOR.services_by_name["GatewayService"]
POLICY = {f"/{_SERVICE.full_name}/{method.name}": frozenset({USER}) for method in _SERVICE.methods}


class GatewayServicer(pb_grpc.GatewayServiceServicer):
    """Raises DragomanErrors; the server turns them into statuses."""

    def __init__(
        self, pipeline: Pipeline, feedback: FeedbackDesk, models: ModelDirectory, limits: Limits, calls: CallMeter
    ) -> None:
        self._calls = calls
        self._pipeline = pipeline
        self._feedback = feedback
        self._models = models
        self._limits = limits

    async def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:  # noqa: ARG002, N802 - gRPC's
        """Classify rows of text."""
        with self._calls.counted(PREDICT, _FACE):
            self._limits.check_client_id(request.client_id, field="client_id")
            version = request.model.version or None
            call = Call(
                principal=principal_of(current_caller()),
                selector=parse_selector(request.model.model, version, field="model.model"),
                texts=request.texts,
                field="texts",
            )
            return answer_to_pb(await self._pipeline.classify(call), request.client_id)

    async def SendFeedback(  # noqa: N802 - gRPC's
        self,
        request: pb.SendFeedbackRequest,
        context: Any,  # noqa: ARG002 - gRPC's
    ) -> pb.SendFeedbackResponse:
        """Record true labels."""
        with self._calls.counted(FEEDBACK, _FACE):
            items = [
                TrueLabel(request_id=item.request_id, row=item.row, true_label=item.true_label)
                for item in request.items
            ]
            num_accepted = await self._feedback.accept(principal_of(current_caller()), items)
            return pb.SendFeedbackResponse(num_accepted=num_accepted)

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:  # noqa: ARG002, N802 - gRPC's
        """The aliases that the caller may ask."""
        aliases = await self._models.aliases(principal_of(current_caller()))
        return pb.ListModelsResponse(
            models=[
                pb.ServedModel(
                    model=entry.version.key.model,
                    alias=entry.alias,
                    version=entry.version.key.number,
                    root_sha256=entry.version.key.root_sha256,
                    labels=entry.version.labels,
                    is_ready=entry.is_ready,
                )
                for entry in aliases
            ]
        )


def answer_to_pb(answer: Answer, client_id: str) -> pb.ClassifyResponse:
    """Write an answer."""
    key = answer.version.key
    return pb.ClassifyResponse(
        request_id=answer.request_id,
        client_id=client_id,
        model=key.model,
        version=key.number,
        root_sha256=key.root_sha256,
        labels=answer.version.labels,
        rows=[
            pb.Classification(label=row.label, scores=row.scores.tolist(), truncated=row.truncated)
            for row in answer.rows
        ],
    )
