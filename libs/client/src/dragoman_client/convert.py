# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Between the SDK's values and dragoman.gateway.v1. Pure."""

from collections.abc import Iterable, Sequence

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman_client.results import Classification, ClassifyResult, FeedbackItem, ServedModel
from dragoman_client.text_check import check_text, check_texts
from dragoman_common.errors import InvalidArgumentError

_MAX_ROW = (1 << 31) - 1
_MAX_VERSION = (1 << 63) - 1


def classify_request_to_pb(model: str, texts: Sequence[str], version: int | None, client_id: str) -> pb.ClassifyRequest:
    """The request of a call.

    Raises:
        InvalidArgumentError: a field that the wire cannot carry; a text's row is named.
    """
    number = 0 if version is None else _whole("version", version, low=1, high=_MAX_VERSION)
    return pb.ClassifyRequest(
        model=pb.ModelSelector(model=check_text("model", model), version=number),
        texts=check_texts("texts", texts),
        client_id=check_text("client_id", client_id),
    )


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
    """The request of a call.

    Raises:
        InvalidArgumentError: a field that the wire cannot carry; the item is named.
    """
    return pb.SendFeedbackRequest(
        items=[
            pb.FeedbackItem(
                request_id=check_text(f"items[{index}].request_id", item.request_id),
                row=_whole(f"items[{index}].row", item.row, low=0, high=_MAX_ROW),
                true_label=check_text(f"items[{index}].true_label", item.true_label),
            )
            for index, item in enumerate(items)
        ]
    )


def _whole(field: str, value: int, *, low: int, high: int) -> int:
    if not isinstance(value, int) or not low <= value <= high:
        raise InvalidArgumentError(f"{field} is {value!r}, must be a whole number from {low} to {high}")
    return value


def served_model_from_pb(served: pb.ServedModel) -> ServedModel:
    return ServedModel(
        model=served.model,
        alias=served.alias,
        version=served.version,
        root_sha256=served.root_sha256,
        labels=tuple(served.labels),
        is_ready=served.is_ready,
    )
