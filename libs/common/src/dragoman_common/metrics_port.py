# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The port where Prometheus reads the meters: GET /metrics, and nothing else.

Owns what a connection may cost: how many there are, how long one may take to ask and to read, and that one text is made
at a time. No credential is asked for: what is told is numbers, on a port of its own that a NetworkPolicy closes.
"""

import asyncio
import logging
from collections.abc import Callable

MAX_CONNECTIONS = 16
MAX_HEAD_BYTES = 8 * 1024
READ_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 10.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_logger = logging.getLogger(__name__)


class MetricsPort:
    """Serves one text.

    Args:
        listen: host:port.
        text: makes it; called in a thread, one at a time.
    """

    def __init__(self, listen: str, text: Callable[[], bytes]) -> None:
        self._listen = listen
        self._text = text
        self._making = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self) -> int:
        """Bind and listen; returns the port."""
        host, _, port = self._listen.rpartition(":")
        self._server = await asyncio.start_server(
            self._connected, host.strip("[]"), int(port), limit=MAX_HEAD_BYTES, reuse_port=False
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Stop at once: who is being answered is cut off."""
        if self._server:
            self._server.close()
        # Not cancelled: asyncio's own callback of a connection takes that for a defect.
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - each connection is a task of asyncio's own
        self._connections[task] = writer
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                head = await _head(reader)
            answer = await self._answer(head)
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                writer.write(answer)
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            _logger.debug("metrics not read", extra={"reason": type(error).__name__})
            writer.transport.abort()
        finally:
            del self._connections[task]
            writer.close()

    async def _answer(self, head: bytes | None) -> bytes:
        if head is None:
            return _response("431 Request Header Fields Too Large")
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path, _, version = rest.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            return _response("400 Bad Request")
        if path.partition(b"?")[0] != b"/metrics":
            return _response("404 Not Found")
        if method != b"GET":
            return _response("405 Method Not Allowed", "Allow: GET\r\n")
        async with self._making:
            text = await asyncio.to_thread(self._text)
        return _response("200 OK", f"Content-Type: {CONTENT_TYPE}\r\n", text)


async def _head(reader: asyncio.StreamReader) -> bytes | None:
    """A request up to its empty line; None where that is too far away."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return None


def _response(status: str, fields: str = "", body: bytes = b"") -> bytes:
    head = f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
