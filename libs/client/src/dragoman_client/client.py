# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The SDK for plain code: classify texts, send true labels back, see which models there are.

Speaks dragoman.gateway.v1 only.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import grpc

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman.gateway.v1 import gateway_pb2_grpc as pb_grpc
from dragoman_client import convert
from dragoman_client.connection import DEFAULT_TIMEOUT_S, Endpoint, check_timeout
from dragoman_client.results import ClassifyResult, FeedbackItem, ServedModel
from dragoman_client.rpc_errors import explained


class Client:
    """A connection to one gateway. Safe to share between threads; close it, or use it as a context manager.

    Every method raises a `dragoman_common.errors.DragomanError` when the call fails, and none waits
    longer than `timeout_s`.
    """

    def __init__(
        self, target: str, token: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, tls_ca_file: Path | None = None
    ) -> None:
        self._endpoint = Endpoint(target, token, tls_ca_file)
        self._timeout_s = check_timeout(timeout_s)
        credentials = self._endpoint.credentials()
        self._channel = (
            grpc.secure_channel(self._endpoint.address, credentials, options=self._endpoint.options)
            if credentials
            else grpc.insecure_channel(self._endpoint.address, options=self._endpoint.options)
        )
        self._stub = pb_grpc.GatewayServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def classify(
        self,
        model: str,
        texts: Sequence[str],
        version: int | None = None,
        *,
        client_id: str = "",
        timeout_s: float | None = None,
    ) -> ClassifyResult:
        """Classify rows of text.

        Args:
            model: a name (its prod alias answers) or name@alias.
            texts: at least one text; none empty.
            version: this version instead of the alias's.
            client_id: your own id for the call, echoed in the answer.
            timeout_s: instead of the client's.
        """
        request = convert.classify_request_to_pb(model, texts, version, client_id)
        with explained(self._endpoint.target):
            response = self._stub.Classify(request, timeout=self._timeout(timeout_s), metadata=self._endpoint.metadata)
        return convert.classify_result_from_pb(response)

    def feedback(self, items: Iterable[FeedbackItem], *, timeout_s: float | None = None) -> int:
        """Send true labels for earlier answers; returns how many were accepted."""
        request = convert.feedback_request_to_pb(items)
        with explained(self._endpoint.target):
            response = self._stub.SendFeedback(
                request, timeout=self._timeout(timeout_s), metadata=self._endpoint.metadata
            )
        return response.num_accepted

    def models(self, *, timeout_s: float | None = None) -> tuple[ServedModel, ...]:
        """The models that the token may ask, and where their aliases point."""
        with explained(self._endpoint.target):
            response = self._stub.ListModels(
                pb.ListModelsRequest(), timeout=self._timeout(timeout_s), metadata=self._endpoint.metadata
            )
        return tuple(convert.served_model_from_pb(served) for served in response.models)

    def _timeout(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else check_timeout(timeout_s)
