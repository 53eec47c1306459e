# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Between the SDK's values and dragoman.gateway.v1. Pure."""

from collections.abc import Iterable, Sequence

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman_client.results import Classification, ClassifyResult, FeedbackItem, ServedModel


def classify_request_to_pb(model: str, texts: Sequence[str], version: int | None, client_id: str) -> pb.ClassifyRequest:
    selector = pb.ModelSelector(model=model, version=version or 0)
    return pb.ClassifyRequest(model=selector, texts=texts, client_id=client_id)


def classify_result_from_pb(response: pb.ClassifyResponse) -> ClassifyResult:
    return ClassifyResult(
        request_id=response.request_id,
        client_id=response.client_id,
        model=response.model,
        version=response.version,
        root_sha256=response.root_sha256,
        labels=tuple(response.labels),
        rows=tuple(
            Classification(label=row.label, scores=tuple(row.scores), truncated=row.truncated) for row in response.rows
        ),
    )


def feedback_request_to_pb(items: Iterable[FeedbackItem]) -> pb.SendFeedbackRequest:
    return pb.SendFeedbackRequest(
        items=[pb.FeedbackItem(request_id=item.request_id, row=item.row, true_label=item.true_label) for item in items]
    )


def served_model_from_pb(served: pb.ServedModel) -> ServedModel:
    return ServedModel(
        model=served.model,
        alias=served.alias,
        version=served.version,
        root_sha256=served.root_sha256,
        labels=tuple(served.labels),
        is_ready=served.is_ready,
    )
