# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Handlers that end a call before its request is looked at, so that the caller learns why.

A client of grpcio that is still sending when the status arrives may report its own failed send, INTERNAL, instead of
the status. So a refused stream is read on, into nothing, until its sender pauses: for a bounded time, a bounded number
of bytes, and for a bounded number of streams at once, for it is work done for callers who may not ask for any.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from dragoman_common.errors import DragomanError
from dragoman_common.status import code_of, status_details

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Handler = Context = Any

_MAX_STREAMS = 16
_MAX_BYTES = 64 * 1024 * 1024
_MAX_LIFE_S = 2.0
_PAUSE_S = 0.1
"""A sender that is silent for so long has nothing on its way that could fail."""


class Refusals:
    """The refused calls of a server."""

    def __init__(self) -> None:
        self._num_read_on = 0

    def of(self, error: DragomanError, *, is_streaming: bool) -> Handler:
        """A handler that ends any kind of call with an error; `is_streaming` tells that its requests are a stream."""

        async def refuse(requests: AsyncIterator[bytes], context: Context) -> None:
            await self.end(error, requests if is_streaming else None, context)

        return grpc.stream_stream_rpc_method_handler(refuse)

    async def end(self, error: DragomanError, requests: AsyncIterator[bytes] | None, context: Context) -> NoReturn:
        """End a call with an error, from within its handler; `requests` where they are a stream."""
        if requests is not None and self._num_read_on < _MAX_STREAMS:
            self._num_read_on += 1
            try:
                await _read_on(requests)
            finally:
                self._num_read_on -= 1
        await context.abort(code_of(error), error.message, status_details(error))


async def _read_on(requests: AsyncIterator[bytes]) -> None:
    num_bytes = 0
    iterator = aiter(requests)
    try:
        async with asyncio.timeout(_MAX_LIFE_S):
            while num_bytes < _MAX_BYTES:
                async with asyncio.timeout(_PAUSE_S):
                    num_bytes += len(await anext(iterator))
    except (StopAsyncIteration, TimeoutError):
        return
