# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Listens for HTTP beside the gRPC server: bind -> ready file -> serve -> stop, after gRPC has drained."""

import asyncio
import json
import logging
import os
from pathlib import Path

from aiohttp import web

from dragoman_common.atomic import write_atomic

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


class HttpServer:
    """One application on one port."""

    def __init__(self, application: web.Application, *, listen: str, ready_file: Path | None, grace_s: float) -> None:
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=_protocol_logger(),
            # A caller that hangs up is answered no longer, as on the gRPC side.
            handler_cancellation=True,
            auto_decompress=False,
            shutdown_timeout=grace_s,
        )
        self._listen = listen
        self._ready_file = ready_file
        self._stopped = asyncio.Event()
        self.port = 0

    async def start(self) -> None:
        """Bind and listen; `port` tells where."""
        host, _, port = self._listen.rpartition(":")
        await self._runner.setup()
        await web.TCPSite(self._runner, host.strip("[]"), int(port), reuse_port=False).start()
        self.port = self._runner.addresses[0][1]
        if self._ready_file:
            write_atomic(self._ready_file, json.dumps({"port": self.port, "pid": os.getpid()}).encode())
        _logger.info("listening for HTTP", extra={"port": self.port})

    async def run(self) -> None:
        """Serve until `stop`."""
        await self.start()
        await self._stopped.wait()

    async def stop(self) -> None:
        """Let calls in flight end within the grace, then close."""
        await self._runner.cleanup()
        self._stopped.set()
