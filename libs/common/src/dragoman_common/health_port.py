# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A plaintext port that answers grpc.health.v1 and nothing else, for probes that cannot speak TLS: the kubelet's.

Owns no state: it asks the health servicer of the service's own server. Whoever calls is anonymous, within the bounds of
anonymous.py.
"""

import asyncio
from collections.abc import Mapping

import grpc
from grpc_health.v1 import health, health_pb2_grpc

from dragoman_common.anonymous import AnonymousCalls
from dragoman_common.auth import ANYONE, Caller
from dragoman_common.calls import CallInterceptor
from dragoman_common.errors import AuthFailure, UnauthenticatedError

HEALTH_POLICY = {f"/grpc.health.v1.Health/{name}": ANYONE for name in ("Check", "Watch", "List")}
_MAX_MESSAGE_BYTES = 4 * 1024
_STOP_GRACE_S = 0.2


class HealthPort:
    """Serves health.

    Args:
        listen: host:port.
        servicer: what answers.
        anonymous: bounds of this port's calls, apart from those of the other.
        max_concurrent_rpcs: calls at once; more than `anonymous` lets in, so that those refused are told so.
        draining: once set, watches end.
    """

    def __init__(
        self,
        listen: str,
        servicer: health.aio.HealthServicer,
        *,
        anonymous: AnonymousCalls,
        max_concurrent_rpcs: int,
        draining: asyncio.Event,
    ) -> None:
        self._listen = listen
        calls = CallInterceptor(
            authenticator=_Nobody(),
            policy=HEALTH_POLICY,
            default_deadline_s=5.0,
            max_deadline_s=3600.0,
            anonymous=anonymous,
            draining=draining,
        )
        self._server = grpc.aio.server(
            interceptors=[calls],
            maximum_concurrent_rpcs=max_concurrent_rpcs,
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_metadata_size", 8 * 1024),
                ("grpc.max_concurrent_streams", 100),
            ],
        )
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)

    async def start(self) -> int:
        """Bind and listen; returns the port."""
        port = self._server.add_insecure_port(self._listen)
        await self._server.start()
        return port

    async def close(self) -> None:
        """Stop."""
        await self._server.stop(_STOP_GRACE_S)


class _Nobody:
    """Knows no caller: what is not health is refused."""

    def authenticate(self, metadata: Mapping[str, str | bytes]) -> Caller:  # noqa: ARG002 - a port's signature
        raise UnauthenticatedError("this port serves health only", failure=AuthFailure.NO_CREDENTIAL)
