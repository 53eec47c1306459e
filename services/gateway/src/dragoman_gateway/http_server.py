# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Listens for HTTP beside the gRPC server: bind -> ready file -> serve -> stop, after gRPC has drained.

Owns what a connection may cost before there is a request: how many there are, and how long each may say nothing. What a
request may cost is rest.py's.
"""

import asyncio
import json
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from dragoman_common.atomic import write_atomic

_LINGERING_S = 5.0
_logger = logging.getLogger(__name__)


def _protocol_logger() -> logging.Logger:
    """The library's own log of requests that are no HTTP, without the bytes of theirs that it would show."""
    logger = logging.getLogger("dragoman_gateway.http_protocol")
    if not logger.filters:
        logger.addFilter(_without_bytes)
    return logger


def _without_bytes(record: logging.LogRecord) -> bool:
    failure = record.exc_info[0] if record.exc_info else None
    record.msg, record.args = "request failed before its handler", None
    record.reason = failure.__name__ if failure else ""
    record.exc_info, record.exc_text = None, None
    return True


def _overload() -> bytes:
    body = b'{"error": "too many connections; try again later", "code": "RESOURCE_EXHAUSTED"}'
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


class _Door(asyncio.Protocol):
    """What a new connection meets first: it is handed on to the application's server, or answered and closed."""

    def __init__(self, server: web.Server, max_connections: int) -> None:
        self._server = server
        self._max_connections = max_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream server, always
        if len(self._server.connections) >= self._max_connections:
            transport.write(_overload())
            transport.close()
            return
        self._hand_on(transport)

    def _hand_on(self, transport: asyncio.Transport) -> asyncio.Protocol:
        handler: asyncio.Protocol = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        return handler


class TlsHandshakes:
    """The handshakes under way, which count as connections: nobody holds more of them than of those.

    Args:
        context: what the next connection is to be shown; another once the certificate was replaced.
        timeout_s: how long a handshake may take.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext], timeout_s: float) -> None:
        self.context = context
        self.timeout_s = timeout_s
        self.under_way: set[asyncio.Task[None]] = set()


class _TlsDoor(_Door):
    """As `_Door`, with a handshake first. What arrives with its end waits here for the handler."""

    def __init__(self, server: web.Server, max_connections: int, handshakes: TlsHandshakes) -> None:
        super().__init__(server, max_connections)
        self._handshakes = handshakes
        self._received = bytearray()
        self._is_at_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream server, always
        if len(self._server.connections) + len(self._handshakes.under_way) >= self._max_connections:
            # No answer could be read before the handshake.
            transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._shake_hands(transport))
        self._handshakes.under_way.add(task)
        task.add_done_callback(self._handshakes.under_way.discard)

    async def _shake_hands(self, plain: asyncio.Transport) -> None:
        loop, shakes = asyncio.get_running_loop(), self._handshakes
        try:
            transport = await loop.start_tls(
                plain, self, shakes.context(), server_side=True, ssl_handshake_timeout=shakes.timeout_s
            )
        except (OSError, ssl.SSLError) as error:
            _logger.debug("no TLS handshake", extra={"reason": type(error).__name__})
            plain.abort()
            return
        if transport is None:
            return
        handler = self._hand_on(transport)
        if self._received:
            handler.data_received(bytes(self._received))
        if self._is_at_end:
            handler.eof_received()

    def data_received(self, data: bytes) -> None:
        self._received += data

    def eof_received(self) -> None:
        self._is_at_end = True


class HttpServer:
    """One application on one port.

    Args:
        application: what answers.
        listen: host:port.
        ready_file: written when the port is bound.
        max_connections: at once; one more is answered with 503 and closed.
        read_timeout_s: a connection that has not sent a whole head by then is closed, an idle one too.
        grace_s: how long calls in flight may go on after `stop`.
        context: what the next connection is to be shown; None is plaintext.
    """

    def __init__(
        self,
        application: web.Application,
        *,
        listen: str,
        ready_file: Path | None,
        max_connections: int,
        read_timeout_s: float,
        grace_s: float,
        context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=_protocol_logger(),
            # A caller that hangs up is answered no longer, as on the gRPC side.
            handler_cancellation=True,
            auto_decompress=False,
            # Counted from the connection's begin, or the answer before, to the end of a head: bytes do not prolong it.
            keepalive_timeout=read_timeout_s,
            # A body that was refused is read on for so long, that its sender may see the answer.
            lingering_time=min(read_timeout_s, _LINGERING_S),
            shutdown_timeout=grace_s,
        )
        self._listen = listen
        self._max_connections = max_connections
        self._handshakes = TlsHandshakes(context, read_timeout_s) if context else None
        self._listener: asyncio.Server | None = None
        self._ready_file = ready_file
        self._stopped = asyncio.Event()
        self.port = 0

    async def start(self) -> None:
        """Bind and listen; `port` tells where."""
        host, _, port = self._listen.rpartition(":")
        await self._runner.setup()
        server = self._runner.server
        assert server is not None  # noqa: S101 - set up above
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: self._door(server), host.strip("[]"), int(port), reuse_port=False
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        if self._ready_file:
            write_atomic(self._ready_file, json.dumps({"port": self.port, "pid": os.getpid()}).encode())
        _logger.info("listening for HTTP", extra={"port": self.port})

    def _door(self, server: web.Server) -> _Door:
        if self._handshakes:
            return _TlsDoor(server, self._max_connections, self._handshakes)
        return _Door(server, self._max_connections)

    async def run(self) -> None:
        """Serve until `stop`."""
        try:
            await self.start()
            await self._stopped.wait()
        finally:
            # Also when this is cancelled and nobody stops it: the port must not outlive it.
            if self._listener:
                self._listener.close()

    async def stop(self) -> None:
        """Let calls in flight end within the grace, then close."""
        if self._listener:
            self._listener.close()
        for task in self._handshakes.under_way if self._handshakes else ():
            task.cancel()
        await self._runner.cleanup()
        self._stopped.set()
