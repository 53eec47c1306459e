# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the gateway can answer: every alias has been read, and the tokenizer serves. Models have ModelReady.

Once the process is asked to stop it is not ready, and stays so: who routes by readiness sends the next call elsewhere.
"""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dragoman_gateway.route import Router

_PERIOD_S = 1.0
_CHECK_TIMEOUT_S = 2.0


class Readiness:
    """`is_ready` follows the parts; `wait` returns when it is true for the first time."""

    def __init__(self, router: Router, tokenizer: grpc.aio.Channel) -> None:
        self._router = router
        self._health: Any = health_pb2_grpc.HealthStub(tokenizer)
        self._first = asyncio.Event()
        self._is_answering = False
        self._is_stopping = False

    @property
    def is_ready(self) -> bool:
        return self._is_answering and not self._is_stopping

    async def stop(self) -> None:
        """The drain begins: not ready from now on."""
        self._is_stopping = True

    async def run(self) -> None:
        """Ask every second, until cancelled."""
        while True:
            self._is_answering = self._router.is_complete and await self._is_tokenizer_serving()
            if self.is_ready:
                self._first.set()
            await asyncio.sleep(_PERIOD_S if self.is_ready else _PERIOD_S / 10)

    async def wait(self) -> None:
        await self._first.wait()

    async def _is_tokenizer_serving(self) -> bool:
        try:
            response = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=_CHECK_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)
