# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The server that every service starts from.

settings -> bind -> policy covers every method -> ready file -> SERVING -> SIGTERM -> NOT_SERVING -> drain -> stop
"""

import asyncio
import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from opentelemetry.metrics import Observation

from dragoman_common import telemetry
from dragoman_common.anonymous import AnonymousCalls
from dragoman_common.atomic import write_atomic
from dragoman_common.auth import AUTHENTICATED, Authenticator, PolicyTable
from dragoman_common.calls import CallInterceptor
from dragoman_common.health_port import HEALTH_POLICY, HealthPort
from dragoman_common.method_recorder import Handler, MethodRecorder
from dragoman_common.metrics_port import MetricsPort
from dragoman_common.tls import ServerTls, TlsSettings

logger = logging.getLogger(__name__)

_QUIET_S = 0.02
_MAX_UNQUIET_S = 1.0
"""A client that goes on sending to a server that refuses does not keep it from stopping."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """What every service can be told about its server."""

    listen: str = "127.0.0.1:0"
    """host:port; port 0 takes a free one, which the ready file names."""
    ready_file: Path | None = None
    """Written when the ports are bound: a JSON object with port and pid, and health_port and metrics_port if set."""
    key_file: Path
    """The service's own Ed25519 key (PKCS 8 PEM)."""
    trust_file: Path
    """JSON object: identity -> base64 public key, of all who may call or be called."""
    reflection: bool = False
    """Serve gRPC reflection, to callers that are authenticated."""
    default_deadline_ms: int = 30_000
    """Given to unary calls that bring no deadline."""
    max_deadline_ms: int = 3_600_000
    """The longest life of any call; watches are cut then and resume."""
    drain_grace_ms: int = 15_000
    """How long calls in flight may go on after SIGTERM."""
    max_connection_age_s: int = 0
    """How long a client may keep a connection, a tenth more or less, before it is asked to make another; calls under
    way are answered on the old one. 0: for ever. Where servers stand behind one address, this spreads clients over new
    ones, and lets them leave one that is about to stop before it refuses calls."""
    max_message_bytes: int = 4 * 1024 * 1024
    """Largest message, both ways; a larger one is RESOURCE_EXHAUSTED."""
    max_concurrent_rpcs: int = 2_000
    """Calls at once; one more is RESOURCE_EXHAUSTED."""
    max_anonymous_watches: int = 64
    """Health watches at once, which anyone may open, at most a quarter of max_concurrent_rpcs; and as many other calls
    of health. One more is RESOURCE_EXHAUSTED."""
    max_anonymous_watch_ms: int = 60_000
    """The longest life of such a watch: its follower begins again."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
    otlp_endpoint: str | None = None
    """host:port of an OpenTelemetry collector; unset exports nothing."""
    health_listen: str | None = None
    """host:port where grpc.health.v1 alone is served, in the clear, for probes that speak no TLS; unset serves none."""
    metrics_listen: str | None = None
    """host:port where Prometheus reads GET /metrics, in the clear and without a credential; unset serves none."""
    tls: TlsSettings = field(default_factory=TlsSettings)
    """Certificates; unset is plaintext."""

    def __post_init__(self) -> None:
        if self.max_connection_age_s < 0:
            raise ValueError("MAX_CONNECTION_AGE_S must be 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One protobuf service: the generated function that registers it, and the object that answers."""

    register: Callable[[Any, Any], None]
    servicer: object


class PolicyGapError(Exception):
    """A method would be served that no policy row covers. The server does not start."""


class Server:
    """A gRPC server with health, policy, deadlines, error table and drain.

    Raises:
        PolicyGapError: a served method has no row in the policy table.
    """

    def __init__(
        self,
        services: Sequence[Service],
        settings: ServerSettings,
        *,
        authenticator: Authenticator,
        policy: PolicyTable,
    ) -> None:
        self._settings = settings
        self._draining = asyncio.Event()
        self._health = health.aio.HealthServicer()
        rows = HEALTH_POLICY | dict(policy)
        self._calls = CallInterceptor(
            authenticator=authenticator,
            policy=rows,
            default_deadline_s=settings.default_deadline_ms / 1e3,
            max_deadline_s=settings.max_deadline_ms / 1e3,
            anonymous=_anonymous_calls(settings),
            draining=self._draining,
            peers=settings.tls.peers(),
        )
        self._tls = settings.tls.server()
        self._health_port = _health_port(settings, self._health, self._draining)
        self._metrics_port = settings.metrics_listen and MetricsPort(settings.metrics_listen, telemetry.exposition)
        self.ports: dict[str, int] = {}
        self._server = grpc.aio.server(
            interceptors=[self._calls],
            maximum_concurrent_rpcs=settings.max_concurrent_rpcs,
            options=_options(settings),
        )
        recorder: Any = MethodRecorder(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, recorder)
        for service in services:
            service.register(service.servicer, recorder)
        if settings.reflection:
            names = [*recorder.service_names, reflection.SERVICE_NAME]
            before = set(recorder.methods)
            # enable_server_reflection would take the recorder for a threaded server and register the blocking servicer.
            servicer = reflection.aio.ReflectionServicer(names)
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, recorder)  # type: ignore[no-untyped-call]
            rows |= dict.fromkeys(set(recorder.methods) - before, AUTHENTICATED)
        self.methods: Mapping[str, Handler] = recorder.methods
        gaps = sorted(set(self.methods) - set(rows))
        if gaps:
            raise PolicyGapError(f"no policy row for {', '.join(gaps)}")

    async def start(self) -> int:
        """Bind and listen; returns the port. Health says NOT_SERVING until `set_serving`."""
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        port: int
        if self._tls:
            _measure(self._tls)
            port = self._server.add_secure_port(self._settings.listen, self._tls.credentials())
        else:
            port = self._server.add_insecure_port(self._settings.listen)
        if self._health_port:
            self.ports["health_port"] = await self._health_port.start()
        if self._metrics_port:
            self.ports["metrics_port"] = await self._metrics_port.start()
        await self._server.start()
        self.ports["port"] = port
        return port

    async def set_serving(self, *, is_serving: bool) -> None:
        kind = health_pb2.HealthCheckResponse
        await self._health.set("", kind.SERVING if is_serving else kind.NOT_SERVING)

    async def drain(self, on_stop: Callable[[], Awaitable[None]] | None = None) -> None:
        """Say NOT_SERVING, end the watches, refuse new calls, let calls in flight end within the grace, and stop.

        `on_stop` is awaited before the calls are: it ends what long calls wait for.
        """
        await self._health.enter_graceful_shutdown()
        # One turn of the loop lets health watchers read NOT_SERVING before their streams end.
        await asyncio.sleep(0)
        self._draining.set()
        if on_stop:
            await on_stop()
        await self._calls.until_quiet(quiet_s=_QUIET_S, max_s=_MAX_UNQUIET_S)
        await self._server.stop(self._settings.drain_grace_ms / 1e3)
        for port in (self._health_port, self._metrics_port):
            if port:
                await port.close()


async def serve(
    services: Sequence[Service],
    settings: ServerSettings,
    *,
    authenticator: Authenticator,
    policy: PolicyTable,
    readiness: Callable[[], Awaitable[None]] | None = None,
    background: Sequence[Coroutine[Any, Any, None]] = (),
    on_stop: Callable[[], Awaitable[None]] | None = None,
    on_drain: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run a service until SIGTERM or SIGINT, then drain.

    Args:
        services: what is served, beside health.
        settings: the server's settings.
        authenticator: who is calling.
        policy: full method name -> identities that may call it.
        readiness: awaited after the port is bound; health turns SERVING when it returns.
        background: run beside the server; one that ends with an error ends the process.
        on_stop: awaited before calls drain: ends what long calls wait for.
        on_drain: awaited after calls have drained and before the background is cancelled.

    Raises:
        PolicyGapError: a served method has no policy row.
    """
    server = Server(services, settings, authenticator=authenticator, policy=policy)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    port = await server.start()
    if settings.ready_file:
        write_atomic(settings.ready_file, json.dumps(server.ports | {"pid": os.getpid()}).encode())
    logger.info("listening", extra={"port": port})
    tasks = [asyncio.create_task(coroutine) for coroutine in background]
    tasks.append(asyncio.create_task(_become_ready(server, readiness)))
    waiting = asyncio.create_task(stop.wait())
    try:
        await _first_end(waiting, tasks)
    finally:
        await server.drain(on_stop)
        if on_drain:
            await on_drain()
        waiting.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(waiting, *tasks, return_exceptions=True)
    logger.info("stopped")


async def _become_ready(server: Server, readiness: Callable[[], Awaitable[None]] | None) -> None:
    if readiness:
        await readiness()
    await server.set_serving(is_serving=True)


async def _first_end(waiting: asyncio.Task[Any], tasks: Sequence[asyncio.Task[None]]) -> None:
    """Return when the process is asked to stop; raise what ended a background task."""
    running = set(tasks)
    while not waiting.done():
        done, _ = await asyncio.wait({waiting, *running}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            running.discard(task)
            task.result()


def _anonymous_calls(settings: ServerSettings) -> AnonymousCalls:
    """Both kinds together take at most half of the calls, so that the other half is for those who may call."""
    return AnonymousCalls(
        max_calls=max(1, min(settings.max_anonymous_watches, settings.max_concurrent_rpcs // 4)),
        max_watch_life_s=settings.max_anonymous_watch_ms / 1e3,
    )


def _health_port(
    settings: ServerSettings, servicer: health.aio.HealthServicer, draining: asyncio.Event
) -> HealthPort | None:
    if settings.health_listen is None:
        return None
    anonymous = _anonymous_calls(settings)
    return HealthPort(
        settings.health_listen,
        servicer,
        anonymous=anonymous,
        max_concurrent_rpcs=4 * anonymous.max_calls,
        draining=draining,
    )


def _measure(tls: ServerTls) -> None:
    telemetry.meter("dragoman.server").create_observable_gauge(
        "dragoman.tls.certificate_end",
        [lambda _: [Observation(tls.ends_s())]],
        unit="s",
        description="When the certificate that the server shows ends, in seconds since 1970",
    )


def _options(settings: ServerSettings) -> list[tuple[str, Any]]:
    age = (
        [("grpc.max_connection_age_ms", settings.max_connection_age_s * 1_000)] if settings.max_connection_age_s else []
    )
    return [
        *age,
        # Two servers that share a port in silence is a fault that shows up as every second call failing.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_metadata_size", 8 * 1024),
        ("grpc.max_concurrent_streams", 1_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]
