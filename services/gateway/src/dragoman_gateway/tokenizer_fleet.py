# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Every tokenizer there is: one channel per address, the calls spread over them, and tried elsewhere when one is away.

    name -> NameService -> addresses -> channels;  encode -> the one with the fewest calls -> away? -> another

Encoding twice harms nobody, so an attempt that found its tokenizer away is repeated, as often and as long as attempts
at workers are (dispatch.py), out of the same budget. An address that failed is passed over for a second.
"""

import asyncio
import functools
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import grpc

from dragoman_common.clock import Clock
from dragoman_common.endpoint import Endpoint
from dragoman_common.errors import UnavailableError
from dragoman_common.name_service import NameService
from dragoman_gateway.clients import TokenizerClient
from dragoman_gateway.dispatch import FIRST_PAUSE_S, MAX_ATTEMPTS
from dragoman_gateway.ports import EncodedRows
from dragoman_gateway.retry_budget import RetryBudget
from dragoman_gateway.version import VersionKey

_AWAY_S = 1.0


@dataclass(kw_only=True, slots=True)
class _Member:
    channel: grpc.aio.Channel
    client: TokenizerClient
    num_calls: int = 0
    away_until_s: float = 0.0
    is_named: bool = True


class TokenizerFleet:
    """See ports.Tokenizer."""

    def __init__(
        self,
        endpoint: Endpoint,
        names: NameService,
        open_channel: Callable[[str, str], grpc.aio.Channel],
        *,
        timeout_s: float,
        retries: RetryBudget,
        remaining_s: Callable[[], float | None],
        clock: Clock,
        choice: random.Random,
    ) -> None:
        """Give each attempt at most `timeout_s`; `remaining_s` is the time that the call being handled has left."""
        self._endpoint = endpoint
        self._names = names
        self._open_channel = open_channel
        self._timeout_s = timeout_s
        self._retries = retries
        self._remaining_s = remaining_s
        self._clock = clock
        self._choice = choice
        self._members: dict[str, _Member] = {}

    async def run(self) -> None:
        """Follow the name until cancelled, and close the channels then."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._names.follow(self._endpoint, functools.partial(self._take, group))
        finally:
            for member in self._members.values():
                await member.channel.close()

    async def encode(self, key: VersionKey, texts: Sequence[str]) -> EncodedRows:
        tried: set[str] = set()
        pause_s = FIRST_PAUSE_S
        for num_left in reversed(range(MAX_ATTEMPTS)):
            address = self._choose(tried)
            try:
                return await self._attempt(self._members[address], key, texts)
            except UnavailableError:
                tried.add(address)
                wait_s = pause_s * self._choice.uniform(0.5, 1.5)
                left_s = self._remaining_s()
                if num_left == 0 or (left_s is not None and left_s <= wait_s) or not self._retries.take():
                    raise
            await asyncio.sleep(wait_s)
            pause_s *= 2
        raise AssertionError("unreachable")

    async def _attempt(self, member: _Member, key: VersionKey, texts: Sequence[str]) -> EncodedRows:
        member.num_calls += 1
        try:
            return await member.client.encode(key, texts)
        except UnavailableError:
            member.away_until_s = self._clock.monotonic_s() + _AWAY_S
            raise
        finally:
            member.num_calls -= 1

    def _choose(self, tried: Collection[str]) -> str:
        now_s = self._clock.monotonic_s()
        candidates = [address for address, member in self._members.items() if member.is_named] or list(self._members)
        candidates = [address for address in candidates if address not in tried] or candidates
        candidates = [address for address in candidates if self._members[address].away_until_s <= now_s] or candidates
        if not candidates:
            raise UnavailableError("the tokenizer is away for the moment; send the call again")
        least = min(self._members[address].num_calls for address in candidates)
        return self._choice.choice([address for address in candidates if self._members[address].num_calls == least])

    def _take(self, group: asyncio.TaskGroup, addresses: tuple[str, ...]) -> None:
        for address in addresses:
            member = self._members.get(address)
            if member is None:
                channel = self._open_channel(address, self._endpoint.server_name)
                # Connected before the first call needs it.
                channel.get_state(try_to_connect=True)
                client = TokenizerClient(channel, timeout_s=self._timeout_s)
                self._members[address] = _Member(channel=channel, client=client)
            else:
                member.is_named = True
        for address in set(self._members) - set(addresses):
            if self._members[address].is_named:
                self._members[address].is_named = False
                group.create_task(self._retire(address, self._members[address]))

    async def _retire(self, address: str, member: _Member) -> None:
        """Close the channel of an address that has gone, once its calls must have ended; unless it comes back."""
        await asyncio.sleep(MAX_ATTEMPTS * self._timeout_s)
        if not member.is_named and self._members.get(address) is member:
            del self._members[address]
            await member.channel.close()
