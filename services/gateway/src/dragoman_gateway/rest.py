# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The HTTP side: health, and the Open Inference Protocol's REST form, through the same pipeline as gRPC.

    request -> authenticate (all but health) -> count, before the body is read -> deadline
        -> body cap -> JSON -> pipeline

No route takes a name that becomes a path or an address. Compressed bodies are refused, so the cap is the cap.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http import HTTPStatus

from aiohttp import web

from dragoman_common import auth_meter, deadline, telemetry
from dragoman_common.auth import Authenticator, Caller, calling_as
from dragoman_common.errors import (
    DeadlineExceededError,
    DragomanError,
    InvalidArgumentError,
    OverloadedError,
    UnauthenticatedError,
)
from dragoman_gateway import rest_codec
from dragoman_gateway.call_meter import PREDICT, CallMeter
from dragoman_gateway.callers import principal_of
from dragoman_gateway.http_errors import refusal, response_of
from dragoman_gateway.infer_contract import TEXT
from dragoman_gateway.limits import Limits
from dragoman_gateway.models import ModelDirectory
from dragoman_gateway.oip import EXTENSIONS, SERVER_NAME, server_version
from dragoman_gateway.pipeline import Call, Pipeline
from dragoman_gateway.readiness import Readiness
from dragoman_gateway.selector import Selector, parse_selector, parse_version

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OPEN_PATHS = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
_RETRY_AFTER_S = 1.0
_CODES = {
    web.HTTPRequestEntityTooLarge: "RESOURCE_EXHAUSTED",
    web.RequestPayloadError: "INVALID_ARGUMENT",
}
_CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
_logger = logging.getLogger(__name__)
_tracer = telemetry.tracer("dragoman.gateway.http")
_duration_ms = telemetry.meter("dragoman.gateway.http").create_histogram(
    "http.server.duration", unit="ms", description="Time from a request's arrival to its answer, by route and status"
)


class RestApi:
    """The routes and what they answer.

    Args:
        pipeline: answers predictions.
        models: describes models.
        readiness: whether the gateway can answer.
        authenticator: who is calling.
        limits: what one call may hold.
        deadline_s: of every call.
        read_timeout_s: for a body to arrive, and for an answer to be taken.
        max_calls: at once, counted from before the body is read; one more is refused.
        calls: counts predictions and how they ended.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        models: ModelDirectory,
        readiness: Readiness,
        authenticator: Authenticator,
        limits: Limits,
        deadline_s: float,
        read_timeout_s: float,
        max_calls: int,
        calls: CallMeter,
    ) -> None:
        self._calls = calls
        self._pipeline = pipeline
        self._models = models
        self._readiness = readiness
        self._authenticator = authenticator
        self._limits = limits
        self._deadline_s = deadline_s
        self._read_timeout_s = read_timeout_s
        self._max_calls = max_calls
        self._num_calls = 0

    def application(self) -> web.Application:
        """The routes, behind authentication and the error table."""
        app = web.Application(client_max_size=self._limits.max_message_bytes, middlewares=[self._guard])
        model = "/v2/models/{model}"
        version = model + "/versions/{version}"
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/healthz", self._live),
            ("GET", "/readyz", self._ready),
            ("GET", "/v2", self._server),
            ("GET", "/v2/health/live", self._live),
            ("GET", "/v2/health/ready", self._ready),
        ]
        for prefix in (model, version):
            routes += [
                ("GET", prefix, self._model),
                ("GET", f"{prefix}/ready", self._model_ready),
                ("POST", f"{prefix}/infer", self._infer),
            ]
        for method, path, handler in routes:
            app.router.add_route(method, path, handler)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started_s = time.monotonic()
        response = await self._answer(request, handler)
        labels: dict[str, str | int] = {"route": _route_of(request), "status": response.status}
        _duration_ms.record((time.monotonic() - started_s) * 1e3, labels)
        await self._send(request, response)
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send the answer here: the library would wait without end for a client that does not take it."""
        try:
            async with asyncio.timeout(self._read_timeout_s):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()

    def _metered(self, request: web.Request) -> AbstractContextManager[None]:
        is_prediction = _route_of(request).endswith("/infer")
        return self._calls.counted(PREDICT, "rest", _CODES) if is_prediction else nullcontext()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._num_calls >= self._max_calls:
            raise OverloadedError(
                f"{self._max_calls} HTTP calls run already; send this one again later", retry_after_s=_RETRY_AFTER_S
            )
        self._num_calls += 1
        try:
            yield
        finally:
            self._num_calls -= 1

    def _caller(self, request: web.Request) -> Caller:
        try:
            return self._authenticator.authenticate({"authorization": request.headers.get("Authorization", "")})
        except UnauthenticatedError as error:
            auth_meter.count(error)
            raise

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Everything that happens around every handler, in order."""
        parent = telemetry.context_from({key.lower(): value for key, value in request.headers.items()})
        try:
            if request.path in _OPEN_PATHS:
                return await handler(request)
            caller = request[_CALLER] = self._caller(request)
            with (
                self._metered(request),
                self._counted(),
                _tracer.start_as_current_span(f"{request.method} {_route_of(request)}", context=parent),
                calling_as(caller.tenant, caller.subject),
                deadline.within(self._deadline_s),
            ):
                async with asyncio.timeout(self._deadline_s):
                    return await handler(request)
        except TimeoutError:
            return response_of(DeadlineExceededError(f"no answer within {self._deadline_s:g} s"))
        except DragomanError as error:
            return response_of(error)
        except web.HTTPRequestEntityTooLarge:
            cap = self._limits.max_message_bytes
            return refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body is over {cap} bytes; send fewer rows",
                "RESOURCE_EXHAUSTED",
            )
        except web.RequestPayloadError:
            return response_of(
                InvalidArgumentError("the body ended too early, or its encoding is broken; send it again")
            )
        except web.HTTPMethodNotAllowed as error:
            return refusal(
                error.status, f"{request.method} is not served here", "UNIMPLEMENTED", {"Allow": error.headers["Allow"]}
            )
        except web.HTTPNotFound:
            return refusal(HTTPStatus.NOT_FOUND, "no such path is served here", "NOT_FOUND")
        except Exception:
            _logger.exception("call failed by a defect", extra={"route": _route_of(request)})
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error", "INTERNAL")

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _request: web.Request) -> web.Response:
        is_ready = self._readiness.is_ready
        return web.json_response({"ready": is_ready}, status=_status_of(is_ready))

    async def _server(self, _request: web.Request) -> web.Response:
        return web.json_response({"name": SERVER_NAME, "version": server_version(), "extensions": list(EXTENSIONS)})

    async def _model(self, request: web.Request) -> web.Response:
        version, numbers = await self._models.describe(principal_of(request[_CALLER]), _selector(request))
        name = request.match_info["model"]
        return web.json_response(rest_codec.metadata_to_json(name, version, numbers, self._models.properties(version)))

    async def _model_ready(self, request: web.Request) -> web.Response:
        is_ready = self._models.is_ready(principal_of(request[_CALLER]), _selector(request))
        return web.json_response({"name": request.match_info["model"], "ready": is_ready}, status=_status_of(is_ready))

    async def _infer(self, request: web.Request) -> web.Response:
        selector = _selector(request)
        _check_plain(request)
        if (request.content_length or 0) > self._limits.max_message_bytes:
            raise web.HTTPRequestEntityTooLarge(self._limits.max_message_bytes, request.content_length or 0)
        parsed = rest_codec.call_from_json(rest_codec.parse_object(await self._body(request)), selector, self._limits)
        call = Call(principal=principal_of(request[_CALLER]), selector=selector, texts=parsed.texts, field=TEXT)
        return web.json_response(rest_codec.answer_to_json(parsed, await self._pipeline.classify(call)))

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._read_timeout_s):
                return await request.read()
        except TimeoutError:
            raise DeadlineExceededError(
                f"the body did not arrive within {self._read_timeout_s:g} s; send it without pauses"
            ) from None


def _selector(request: web.Request) -> Selector:
    return parse_selector(
        request.match_info["model"], parse_version(request.match_info.get("version", ""), field="version")
    )


def _check_plain(request: web.Request) -> None:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InvalidArgumentError("Content-Encoding: compressed bodies are not accepted; send the JSON as it is")
    if "Inference-Header-Content-Length" in request.headers:
        raise InvalidArgumentError("binary tensors are not served over HTTP; send JSON, or use gRPC")


def _route_of(request: web.Request) -> str:
    """The route's pattern: the path itself may hold anything, and would make a metric of every name."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unknown"


def _status_of(is_ready: bool) -> int:
    return HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
