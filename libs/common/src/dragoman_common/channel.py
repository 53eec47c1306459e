# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Channels between services: each call carries who calls, for whom, in which trace, and until when."""

from collections.abc import Callable
from typing import Any

import grpc

from dragoman_common import deadline, telemetry
from dragoman_common.auth import acting_for
from dragoman_common.errors import DeadlineExceededError
from dragoman_common.renewed_channel import RenewedChannel
from dragoman_common.service_keys import TokenSource
from dragoman_common.tls import ChannelTls, channel_credentials
from dragoman_common.tls_files import Material

_KEEPALIVE_TIME_MS = 10_000
_KEEPALIVE_TIMEOUT_MS = 5_000


def connect(
    target: str,
    *,
    audience: str,
    tokens: TokenSource,
    default_deadline_ms: int = 10_000,
    max_message_bytes: int = 4 * 1024 * 1024,
    tls: ChannelTls | None = None,
    server_name: str = "",
) -> grpc.aio.Channel:
    """A channel to a service.

    Args:
        target: host:port.
        audience: the service's identity: the only one that will accept the token sent.
        tokens: where the credential comes from.
        default_deadline_ms: for calls that name no timeout; the time left of the call being handled always caps it.
        max_message_bytes: largest message, both ways.
        tls: whom to trust and what to show; None is plaintext. Calls use the newest certificates of its files.
        server_name: the name that the server's certificate must hold, where target is an address that was resolved
            from it; empty takes the target's host.

    Returns:
        A channel whose calls raise DeadlineExceededError at once when the current call's time is used up.
    """
    outgoing = _Outgoing(audience, tokens, default_deadline_ms / 1e3)
    interceptors: list[Any] = [
        _UnaryUnary(outgoing),
        _UnaryStream(outgoing),
        _StreamUnary(outgoing),
        _StreamStream(outgoing),
    ]
    options = _options(max_message_bytes, server_name)
    if tls is None:
        return grpc.aio.insecure_channel(target, interceptors=interceptors, options=options)

    def make(material: Material) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(
            target, channel_credentials(material), interceptors=interceptors, options=options
        )

    return RenewedChannel(tls, make)


def _options(max_message_bytes: int, server_name: str) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        # A restarted service must be found again soon, not after gRPC's default of up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        # Also the time that one attempt to connect may take: a loaded machine needs more than a backoff.
        ("grpc.min_reconnect_backoff_ms", 2_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Retries happen in one place, which is not here.
        ("grpc.enable_retries", 0),
    ]
    if server_name:
        # With TLS this is also the name that the certificate is held against.
        options.append(("grpc.default_authority", server_name))
    return options


class _Outgoing:
    def __init__(self, audience: str, tokens: TokenSource, default_timeout_s: float) -> None:
        self._audience = audience
        self._tokens = tokens
        self._default_timeout_s = default_timeout_s

    def prepare(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        timeout_s = self._default_timeout_s if details.timeout is None else details.timeout
        left_s = deadline.remaining_s()
        if left_s is not None:
            if left_s == 0.0:
                raise DeadlineExceededError(f"the deadline passed before the call to {self._audience}")
            timeout_s = min(timeout_s, left_s)
        tenant, subject = acting_for()
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        metadata.add("authorization", f"Bearer {self._tokens.token(self._audience)}")
        for key, value in (("dragoman-tenant", tenant), ("dragoman-subject", subject), *telemetry.outgoing()):
            if value:
                metadata.add(key, value)
        return grpc.aio.ClientCallDetails(
            method=details.method,
            timeout=timeout_s,
            metadata=metadata,
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
        )


class _Interceptor:
    """grpc.aio puts an interceptor into the first list of calls that fits it: hence one class for each kind of call."""

    def __init__(self, outgoing: _Outgoing) -> None:
        self._outgoing = outgoing


class _UnaryUnary(_Interceptor, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(self._outgoing.prepare(client_call_details), request)


class _UnaryStream(_Interceptor, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(self._outgoing.prepare(client_call_details), request)


class _StreamUnary(_Interceptor, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        return await continuation(self._outgoing.prepare(client_call_details), request_iterator)


class _StreamStream(_Interceptor, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        return await continuation(self._outgoing.prepare(client_call_details), request_iterator)
