# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""For tests: a real server on port 0, identities made on the spot, names and a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc

from dragoman_common.auth import PLATFORM, TENANT_BOUND, Authenticator, PolicyTable
from dragoman_common.channel import connect
from dragoman_common.endpoint import Endpoint
from dragoman_common.server import Server, ServerSettings, Service
from dragoman_common.service_keys import KeyTokens, ServiceKey, ServiceTokenAuthenticator, TrustStore
from dragoman_common.tls import ChannelTls


class FakeClock:
    """Stands still until `advance`."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic_s = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds


class FakeNames:
    """A name service in which every name has the addresses that the test says; until it does, it does not answer."""

    def __init__(self) -> None:
        self._followers: list[Callable[[tuple[str, ...]], None]] = []
        self._addresses: tuple[str, ...] | None = None

    async def follow(
        self, endpoint: Endpoint, take: Callable[[tuple[str, ...]], None], *, on_asked: Callable[[], None] | None = None
    ) -> None:
        """See name_service.NameService."""
        addresses = (endpoint.at(endpoint.host),) if endpoint.is_fixed else self._addresses
        if addresses is not None:
            take(addresses)
        if on_asked is not None:
            on_asked()
        if not endpoint.is_fixed:
            self._followers.append(take)
        try:
            await asyncio.Event().wait()
        finally:
            if not endpoint.is_fixed:
                self._followers.remove(take)

    def say(self, *addresses: str) -> None:
        """From now on, every name has these (host:port), told at once."""
        self._addresses = tuple(sorted(addresses))
        for take in self._followers:
            take(self._addresses)


class TestKeys:
    """A key for every identity, and the trust store that knows them all."""

    __test__ = False

    def __init__(self, identities: Iterable[str] = sorted(PLATFORM | TENANT_BOUND)) -> None:
        self._keys = {identity: ServiceKey.generate(identity) for identity in identities}
        self.trust = TrustStore({identity: key.public for identity, key in self._keys.items()})

    def key(self, identity: str) -> ServiceKey:
        return self._keys[identity]

    def tokens(self, identity: str, *, tenant: str = "") -> KeyTokens:
        """A token source for `identity`; an operator's tokens bind the tenant "local" unless told otherwise."""
        bound = tenant or ("local" if identity in TENANT_BOUND else "")
        return KeyTokens(self._keys[identity], tenant=bound)

    def authenticator(self, audience: str) -> ServiceTokenAuthenticator:
        return ServiceTokenAuthenticator(self.trust, audience=audience)


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A server that runs for the length of a test."""

    target: str
    name: str
    keys: TestKeys
    server: Server

    @asynccontextmanager
    async def channel(
        self, identity: str, *, tenant: str = "", tls: ChannelTls | None = None, server_name: str = ""
    ) -> AsyncIterator[grpc.aio.Channel]:
        """A channel on which `identity` calls this server."""
        async with connect(
            self.target,
            audience=self.name,
            tokens=self.keys.tokens(identity, tenant=tenant),
            tls=tls,
            server_name=server_name,
        ) as channel:
            yield channel


def server_settings(**changes: Any) -> ServerSettings:
    """Settings of a server in a test."""
    named: dict[str, Any] = {"key_file": Path("unused"), "trust_file": Path("unused"), "drain_grace_ms": 1_000}
    return ServerSettings(**(named | changes))


@asynccontextmanager
async def running(
    services: Sequence[Service],
    policy: PolicyTable,
    *,
    name: str,
    keys: TestKeys | None = None,
    authenticator: Authenticator | None = None,
    settings: ServerSettings | None = None,
) -> AsyncIterator[Running]:
    """Serve `services` in this process, as `name`, on a free port of the loopback address."""
    keys = keys or TestKeys()
    settings = settings or server_settings()
    server = Server(services, settings, authenticator=authenticator or keys.authenticator(name), policy=policy)
    port = await server.start()
    await server.set_serving(is_serving=True)
    try:
        yield Running(target=f"127.0.0.1:{port}", name=name, keys=keys, server=server)
    finally:
        await server.drain()
