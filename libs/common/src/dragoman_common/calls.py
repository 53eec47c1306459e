# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What happens around every handler: who calls, until when, what its bytes are, and what its errors become.

    bytes -> authenticate, policy -> deadline -> parse -> handler -> DragomanError to status, or reply

Authentication comes first and needs no parsed request: a malformed body without a token is UNAUTHENTICATED. A token is
looked at before there is a handler; grpcio shows the client certificate only to the handler, so a call without a token
is let in as far as that, its request unread. Requests are parsed here, not by grpcio, which answers INTERNAL for bytes
that are the caller's fault. Anonymous calls, health's, have bounds of their own (anonymous.py).
"""

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from opentelemetry import context as trace_context
from opentelemetry.trace import SpanKind, Status, StatusCode

from dragoman_common import deadline, telemetry
from dragoman_common.admission import Admission
from dragoman_common.anonymous import AnonymousCalls
from dragoman_common.auth import ANYONE, Authenticator, Caller, PolicyTable, set_current_caller
from dragoman_common.errors import DeadlineExceededError, DragomanError, InvalidArgumentError, UnavailableError
from dragoman_common.peers import Peers
from dragoman_common.refusals import Refusals
from dragoman_common.status import code_of, status_details

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Handler = Context = Any

logger = logging.getLogger(__name__)
_tracer = telemetry.tracer("dragoman.server")
_duration_ms = telemetry.meter("dragoman.server").create_histogram(
    "rpc.server.duration", unit="ms", description="Time from a call's arrival to its end, by method and status code"
)
_MAX_DETAILS_CHARS = 2_000
_HEALTH = "/grpc.health.v1.Health/"


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Stands before every method of a server.

    Args:
        authenticator: who is calling.
        policy: full method name -> identities that may call it.
        default_deadline_s: for calls with one reply that bring no deadline.
        max_deadline_s: the longest that any call lives, streams included.
        anonymous: bounds the calls of methods that are open to anyone.
        peers: reads client certificates; None where there are none.
        draining: once set, new calls are refused with UNAVAILABLE, and methods named Watch... end with it, so that
            their callers go elsewhere. Health is still told.
    """

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        policy: PolicyTable,
        default_deadline_s: float,
        max_deadline_s: float,
        anonymous: AnonymousCalls,
        draining: asyncio.Event,
        peers: Peers | None = None,
    ) -> None:
        self._policy = policy
        self._default_deadline_s = default_deadline_s
        self._max_deadline_s = max_deadline_s
        self._anonymous = anonymous
        self._draining = draining
        self._num_arrived = 0
        self._refusals = Refusals()
        self._admission = Admission(policy, authenticator, peers, self._refusals)

    async def until_quiet(self, *, quiet_s: float, max_s: float) -> None:
        """Wait until no call has arrived for quiet_s, at most max_s.

        grpcio starts calls one by one, and ends with CANCELLED what has arrived and not started when it stops; nobody
        sends such a call again. Once draining is set, each is refused with UNAVAILABLE instead as it gets its turn.
        """
        ends_s = time.monotonic() + max_s
        num_seen = -1
        while num_seen != self._num_arrived and time.monotonic() < ends_s:
            num_seen = self._num_arrived
            await asyncio.sleep(quiet_s)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        self._num_arrived += 1
        method = handler_call_details.method
        metadata = dict(handler_call_details.invocation_metadata or ())
        try:
            caller = self._admission.by_token(method, metadata)
            if self._draining.is_set() and not method.startswith(_HEALTH):
                raise UnavailableError("the server is stopping; send the call again")
        except DragomanError as error:
            refused = await continuation(handler_call_details)
            return self._refusals.of(error, is_streaming=refused is not None and refused.request_streaming)
        handler = await continuation(handler_call_details)
        if handler is None:
            return None if caller else self._admission.not_served(method, metadata)
        return self._wrapped(handler, method, caller, metadata)

    def _wrapped(
        self, handler: Handler, method: str, token_caller: Caller | None, metadata: Mapping[str, str | bytes]
    ) -> Handler:
        is_watch = _is_watch(method)
        parent = telemetry.context_from(metadata)
        # grpcio would wait for the one request before the handler runs, with no bound on the time.
        is_not_known = token_caller is None or self._policy[method] == ANYONE
        is_read_here = is_not_known and not handler.request_streaming

        admitted = functools.partial(
            self._admission.admitted, method, token_caller, metadata, is_streaming=handler.request_streaming
        )

        async def arguments(raw: Any) -> Any:
            parse = handler.request_deserializer
            if handler.request_streaming:
                return _each(raw, parse)
            return _parsed(await _only(raw) if is_read_here else raw, parse)

        async def one(raw: Any, context: Context) -> Any:
            behaviour: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary

            async def answer() -> Any:
                return await behaviour(await arguments(raw), context)

            return await self._run(answer, method, admitted(raw, context), parent, context)

        async def many(raw: Any, context: Context) -> None:
            behaviour: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream

            async def send() -> None:
                replies = behaviour(await arguments(raw), context)
                if not hasattr(replies, "__aiter__"):
                    # grpcio's own servicers (health Watch) write to the context instead of yielding.
                    await _until(self._draining, replies) if is_watch else await replies
                    return
                if is_watch:
                    replies = _ended_by(self._draining, replies)
                async for reply in replies:
                    await context.write(reply)

            await self._run(send, method, admitted(raw, context), parent, context, is_stream=True)

        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming or is_read_here, handler.response_streaming]
        behaviour = many if handler.response_streaming else one
        wrapped: Handler = make(behaviour, request_deserializer=None, response_serializer=handler.response_serializer)
        return wrapped

    async def _run(
        self,
        work: Callable[[], Awaitable[Any]],
        method: str,
        admitted: Awaitable[Caller],
        parent: trace_context.Context,
        context: Context,
        *,
        is_stream: bool = False,
    ) -> Any:
        set_current_caller(await admitted)
        started_s = time.monotonic()
        given_s = context.time_remaining()
        fallback_s = self._max_deadline_s if is_stream else self._default_deadline_s
        timeout_s = min(fallback_s if given_s is None else given_s, self._max_deadline_s)
        admission: AbstractContextManager[None] = nullcontext()
        if self._policy[method] == ANYONE:
            is_watch = _is_watch(method)
            timeout_s = min(timeout_s, self._anonymous.max_life_s(is_watch=is_watch))
            admission = self._anonymous.admitted(is_watch=is_watch)
        code = "OK"
        with _tracer.start_as_current_span(method, context=parent, kind=SpanKind.SERVER) as span:
            try:
                with admission, deadline.within(timeout_s):
                    async with asyncio.timeout(timeout_s) as timer:
                        return await work()
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError | grpc.aio.AbortError):
                    code = "CANCELLED"
                    raise
                if isinstance(error, TimeoutError) and timer.expired():
                    error = DeadlineExceededError(f"{method} did not end within its {timeout_s:.3f} s")
                status = code_of(error) if isinstance(error, DragomanError) else grpc.StatusCode.INTERNAL
                code = status.name
                span.set_status(Status(StatusCode.ERROR, code))
                if status is grpc.StatusCode.INTERNAL:
                    logger.exception("call failed by a defect", extra={"method": method}, exc_info=error)
                    await context.abort(status, "internal error")
                details = str(error)[:_MAX_DETAILS_CHARS]
                if status is grpc.StatusCode.DATA_LOSS:
                    # Its text begins with the name of what is not believed; who it was told may keep it to themselves.
                    refused = {"object": details.partition(": ")[0], "reason": details}
                    logger.error("audit: object refused", extra={"method": method, **refused})  # noqa: TRY400 - no defect of ours
                # Given here, it would replace what the handler has set: load is told on a refusal, too.
                trailer = (*(context.trailing_metadata() or ()), *status_details(error))  # type: ignore[arg-type]
                await context.abort(status, details, trailer)
            finally:
                _duration_ms.record((time.monotonic() - started_s) * 1e3, {"method": method, "code": code})


def _is_watch(method: str) -> bool:
    return method.rpartition("/")[2].startswith("Watch")


async def _only(raw: AsyncIterator[bytes]) -> bytes:
    """The one request of a call that is read as a stream."""
    async for item in raw:
        return item
    raise InvalidArgumentError("the call ended before its request; send one message")


def _parsed(raw: bytes, parse: Callable[[bytes], Any] | None) -> Any:
    try:
        return parse(raw) if parse else raw
    except DecodeError:
        raise InvalidArgumentError("the request's bytes are not a message of this method") from None


async def _each(raw: AsyncIterator[bytes], parse: Callable[[bytes], Any] | None) -> AsyncIterator[Any]:
    async for item in raw:
        yield _parsed(item, parse)


async def _ended_by(draining: asyncio.Event, replies: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Pass replies on until the server drains; one that is ready by then still goes out."""
    iterator = aiter(replies)
    while True:
        reply = asyncio.ensure_future(anext(iterator))
        try:
            yield await _until(draining, reply)
        except StopAsyncIteration:
            return


async def _until(draining: asyncio.Event, work: Awaitable[Any]) -> Any:
    """The result of `work`, unless the server drains first.

    Raises:
        UnavailableError: it drained; the follower may watch again elsewhere.
    """
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(draining.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise UnavailableError("the server is stopping; watch again")
    finally:
        stop.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
