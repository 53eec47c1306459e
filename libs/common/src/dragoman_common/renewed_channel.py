# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A channel that outlives its certificates: grpcio's channel credentials are read once, files are replaced.

    call -> files changed? -> a new channel, and the old one stays for the calls that run on it -> call

Owns that exchange only. What a channel is made of is channel.py's.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import grpc

from dragoman_common.tls import ChannelTls
from dragoman_common.tls_files import Material

if TYPE_CHECKING:
    Kind = Callable[[grpc.aio.Channel], Any]

MAX_OLD_LIFE_S = 3_600.0
"""How long calls may go on on a channel of the certificates before: as long as any call lives."""
MAX_OLD = 4
"""Old channels at once; one more ends the oldest with its calls."""


class RenewedChannel(grpc.aio.Channel):
    """Passes everything on to a channel of the newest certificates.

    Args:
        tls: where they come from.
        make: opens a channel with some.
    """

    def __init__(self, tls: ChannelTls, make: Callable[[Material], grpc.aio.Channel]) -> None:
        self._tls = tls
        self._make = make
        self._material = tls.current()
        self._channel = make(self._material)
        self._old: dict[grpc.aio.Channel, asyncio.Task[None]] = {}
        self._is_closed = False

    def newest(self) -> grpc.aio.Channel:
        """The channel for the next call."""
        material = self._tls.current()
        if material is not self._material and not self._is_closed:
            self._material, old, self._channel = material, self._channel, self._make(material)
            self._retire(old)
        return self._channel

    def _retire(self, old: grpc.aio.Channel) -> None:
        while len(self._old) >= MAX_OLD:
            self._old.pop(next(iter(self._old))).cancel()
        self._old[old] = asyncio.get_running_loop().create_task(self._end(old))

    async def _end(self, old: grpc.aio.Channel) -> None:
        try:
            await asyncio.sleep(MAX_OLD_LIFE_S)
        finally:
            self._old.pop(old, None)
            await old.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        self._is_closed = True
        old = list(self._old.values())
        for task in old:
            task.cancel()
        await self._channel.close(grace)
        await asyncio.gather(*old, return_exceptions=True)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self.newest().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self.newest().channel_ready()

    def unary_unary(self, method: str, *options: Any, **named: Any) -> Any:
        return _Method(self, lambda channel: channel.unary_unary(method, *options, **named))

    def unary_stream(self, method: str, *options: Any, **named: Any) -> Any:
        return _Method(self, lambda channel: channel.unary_stream(method, *options, **named))

    def stream_unary(self, method: str, *options: Any, **named: Any) -> Any:
        return _Method(self, lambda channel: channel.stream_unary(method, *options, **named))

    def stream_stream(self, method: str, *options: Any, **named: Any) -> Any:
        return _Method(self, lambda channel: channel.stream_stream(method, *options, **named))


class _Method:
    """A method as stubs keep it, bound anew to each newer channel."""

    def __init__(self, channel: RenewedChannel, kind: "Kind") -> None:
        self._channel = channel
        self._kind = kind
        self._bound_to: grpc.aio.Channel | None = None
        self._method: Any = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        newest = self._channel.newest()
        if newest is not self._bound_to:
            self._bound_to, self._method = newest, self._kind(newest)
        return self._method(*arguments, **named)
