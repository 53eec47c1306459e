# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Each service, from outside: does it answer, does it believe our token, and how far is its clock from ours.

The gateway's HTTP side tells the time. No reply of gRPC carries one, but a service accepts a token from its issue to
its expiry, with 30 s of leeway on both sides, and we sign tokens: one that it would refuse if its clock were more than
t behind, and one for ahead, measure it.
"""

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from dragoman_client.doctor.certificate import check_certificate
from dragoman_client.doctor.deployment import Deployment
from dragoman_client.doctor.finding import BAD_SKEW_S, FAIL, MAX_SKEW_S, Finding, Findings
from dragoman_client.local import keys
from dragoman_client.local.services import SERVICES
from dragoman_client.local.user_tokens import UserTokenIssuer
from dragoman_common.service_keys import TOKEN_LIFETIME_S, ServiceKey
from dragoman_common.tls import ChannelTls, channel_credentials

TIMEOUT_S = 5.0
_LEEWAY_S = 30.0
_TRIES = 2
_STEPS_S = (5.0, 10.0, 30.0, BAD_SKEW_S, 300.0, 600.0, 900.0)
_FAR_STEPS_S = tuple(float(step) for step in range(TOKEN_LIFETIME_S, 2 * 3600 + 1, TOKEN_LIFETIME_S))
"""Steps of a token's lifetime leave no gap; two hours are a wrong time zone and more."""
_HEALTH = "/grpc.health.v1.Health/Check"
_OIP_METADATA = "/inference.GRPCInferenceService/ServerMetadata"
# Asked with an empty message and no right to anything else: who may call is settled before a message is read.
_PROBES = {
    "registry": "/dragoman.registry.v1.RegistryService/GetVersion",
    "tokenizer": "/dragoman.tokenizer.v1.TokenizerService/Encode",
    "launcher": "/dragoman.launcher.v1.LauncherService/GetJob",
    "worker": "/inference.GRPCInferenceService/ServerLive",
    "monitor": "/dragoman.monitor.v1.MonitorService/GetReport",
    "gateway": "/dragoman.gateway.v1.GatewayService/ListModels",
}
_RESTART = "see its log (`dragoman status --json` names it); `dragoman down`, then `dragoman up`"
TokenAt = Callable[[datetime], str]
"""A token that was issued then, and lives for TOKEN_LIFETIME_S."""


async def check_services(deployment: Deployment) -> AsyncIterator[Finding]:
    """Ask every service."""
    if not deployment.targets:
        yield Findings("platform").fail(
            "running", f"no platform is running in {deployment.home.root}", "start it: `dragoman up --detach`"
        )
    for name in SERVICES:
        target = deployment.targets.get(name, "")
        if not target:
            yield Findings(name).skipped("health", "no address; give it with --target")
            continue
        is_reached = True
        async with _channel(target, deployment) as channel:
            async for finding in _check(name, target, channel, deployment):
                is_reached &= (finding.check, finding.status) != ("health", FAIL)
                yield finding
        # What answers in plaintext has none; what does not answer may want TLS.
        if deployment.ca_file or not is_reached:
            judged = await asyncio.to_thread(check_certificate, name, target, deployment.ca_file)
            if judged:
                yield judged


def _channel(target: str, deployment: Deployment) -> grpc.aio.Channel:
    if deployment.ca_file is None:
        return grpc.aio.insecure_channel(target)
    return grpc.aio.secure_channel(target, channel_credentials(ChannelTls(deployment.ca_file).current()))


async def _check(name: str, target: str, channel: grpc.aio.Channel, deployment: Deployment) -> AsyncIterator[Finding]:
    here = Findings(name)
    code, reply = await _call(channel, _HEALTH, b"", "")
    if code != "OK":
        silent = "does not answer" if code == "DEADLINE_EXCEEDED" else "cannot be reached"
        yield here.fail("health", f"{target} {silent} ({code})", _RESTART)
        return
    status = health_pb2.HealthCheckResponse.FromString(reply).status
    if status == health_pb2.HealthCheckResponse.SERVING:
        yield here.ok("health", f"{target} takes calls")
    else:
        said = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
        yield here.fail("health", f"{target} says {said}: what it needs is missing", _RESTART)
    token_at = _issuer(name, deployment)
    if token_at is None:
        yield here.skipped("token", "no key at hand that it would believe")
        return
    now = datetime.now(UTC)
    token = token_at(now)
    code, reply = await _call(channel, _PROBES[name], b"", token)
    if code != "UNAUTHENTICATED":
        yield here.ok("token", "believes our token")
    # The gateway has users' tokens and a leeway of its own; its HTTP side tells the time.
    skew_s = None if name == "gateway" else await _skew_s(channel, _PROBES[name], token_at)
    if skew_s is not None:
        yield here.clock(skew_s)
    elif code == "UNAUTHENTICATED":
        yield here.fail(
            "token",
            f"does not believe our token: {reply.decode(errors='replace')[:200]}",
            "its trust file and this home's keys differ: give it keys/trust.json of this home, and restart it; "
            "or, where it says expired or not yet valid, the clocks differ by hours",
        )
    if name == "gateway":
        code, reply = await _call(channel, _OIP_METADATA, b"", token)
        if code == "OK":
            yield here.ok("version", _version(reply))
        yield await asyncio.to_thread(_http_side, here, deployment.http_address, deployment.ca_file)


async def _skew_s(channel: grpc.aio.Channel, method: str, token_at: TokenAt) -> float | None:
    """How far the service is ahead of us, as a bound that it lies within; None where no clock explains the refusals."""

    async def accepts(issue_offset_s: float) -> bool:
        # A call that was long under way looks like a clock that is ahead; a second one is not as slow.
        for _ in range(_TRIES):
            issued = datetime.now(UTC) + timedelta(seconds=issue_offset_s)
            code, _reply = await _call(channel, method, b"", token_at(issued))
            if code != "UNAUTHENTICATED":
                return True
        return False

    async def behind_by_at_most(limit_s: float) -> bool:
        return await accepts(_LEEWAY_S - limit_s)

    async def ahead_by_at_most(limit_s: float) -> bool:
        return await accepts(limit_s - _LEEWAY_S - TOKEN_LIFETIME_S)

    # Each token is also refused when the clock is off by its lifetime the other way, so a side is chosen first.
    ahead, behind = await ahead_by_at_most(MAX_SKEW_S), await behind_by_at_most(MAX_SKEW_S)
    if ahead and behind:
        return 0.0
    for limit_s in _STEPS_S if ahead or behind else _FAR_STEPS_S:
        if not ahead and await ahead_by_at_most(limit_s):
            return limit_s
        if not behind and await behind_by_at_most(limit_s):
            return -limit_s
    return None


def _issuer(name: str, deployment: Deployment) -> TokenAt | None:
    home = deployment.home
    path = keys.user_key_file(home) if name == "gateway" else keys.key_file(home, "operator")
    try:
        if name == "gateway":
            issuer = UserTokenIssuer.load(path)
            return lambda issued: issuer.token(clock=_At(issued), subject="doctor", lifetime_s=TOKEN_LIFETIME_S)
        key = ServiceKey.load(path)
        return lambda issued: key.token(audience=name, clock=_At(issued), tenant="local")
    except (OSError, ValueError, TypeError):
        # keys.py says what is wrong with the file.
        return None


class _At:
    """A clock that stands."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return 0.0


async def _call(channel: grpc.aio.Channel, method: str, request: bytes, token: str) -> tuple[str, bytes]:
    """The status code's name, with the reply, or with the text of a refusal."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        method, request_serializer=None, response_deserializer=None
    )
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    try:
        return "OK", await call(request, timeout=TIMEOUT_S, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error.code().name, (error.details() or "").encode()


def _http_side(here: Findings, address: str, ca_file: Path | None) -> Finding:
    """Whether the HTTP side answers, and its clock: a Date has whole seconds, and was made while we waited."""
    if not address:
        return here.skipped("clock", "no HTTP address; give it with --target http=HOST:PORT")
    begin_s = time.time()
    if ca_file is None:
        connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    else:
        trusted = ssl.create_default_context(cafile=str(ca_file))
        connection = http.client.HTTPSConnection(address, timeout=TIMEOUT_S, context=trusted)
    try:
        connection.request("GET", "/v2/health/live")
        date = connection.getresponse().headers.get("Date", "")
        stamp_s = parsedate_to_datetime(date).timestamp()
    except (OSError, http.client.HTTPException) as error:
        return here.fail("http", f"{address} does not answer ({type(error).__name__})", _RESTART)
    except ValueError:
        return here.skipped("clock", f"{address} tells no time")
    finally:
        connection.close()
    return here.clock(min(stamp_s + 1 - begin_s, 0.0) + max(stamp_s - time.time(), 0.0))


def _version(reply: bytes) -> str:
    from inference import oip_pb2

    metadata = oip_pb2.ServerMetadataResponse.FromString(reply)
    return json.dumps(f"{metadata.name} {metadata.version}").strip('"')
