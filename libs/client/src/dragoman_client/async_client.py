# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The SDK for asyncio: the same three calls as client.py."""

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


class AsyncClient:
    """A connection to one gateway, for one event loop; close it, or use it with `async with`.

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
            grpc.aio.secure_channel(self._endpoint.address, credentials, options=self._endpoint.options)
            if credentials
            else grpc.aio.insecure_channel(self._endpoint.address, options=self._endpoint.options)
        )
        self._stub = pb_grpc.GatewayServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    async def classify(
        self,
        model: str,
        texts: Sequence[str],
        version: int | None = None,
        *,
        client_id: str = "",
        timeout_s: float | None = None,
    ) -> ClassifyResult:
        """As `Client.classify`."""
        request = convert.classify_request_to_pb(model, texts, version, client_id)
        with explained(self._endpoint.target):
            response = await self._stub.Classify(
                request, timeout=self._timeout(timeout_s), metadata=self._endpoint.metadata
            )
        return convert.classify_result_from_pb(response)

    async def feedback(self, items: Iterable[FeedbackItem], *, timeout_s: float | None = None) -> int:
        """As `Client.feedback`."""
        request = convert.feedback_request_to_pb(items)
        with explained(self._endpoint.target):
            response = await self._stub.SendFeedback(
                request, timeout=self._timeout(timeout_s), metadata=self._endpoint.metadata
            )
        return response.num_accepted

    async def models(self, *, timeout_s: float | None = None) -> tuple[ServedModel, ...]:
        """As `Client.models`."""
        with explained(self._endpoint.target):
            response = await self._stub.ListModels(
                pb.ListModelsRequest(), timeout=self._timeout(timeout_s), metadata=self._endpoint.metadata
            )
        return tuple(convert.served_model_from_pb(served) for served in response.models)

    def _timeout(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else check_timeout(timeout_s)
