# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A store that speaks just enough S3 to misbehave on command: what a real MinIO cannot be made to do.

It is no stand-in for a real one: signatures are not checked, and only what the faults need is there.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from xml.sax.saxutils import escape

from aiohttp import web

# A fault answers instead of the store, or after it has done what was asked; None lets the request through.
Fault = Callable[["FakeS3", web.Request, bytes], "web.StreamResponse | Awaitable[web.StreamResponse | None] | None"]


def error(status: int, code: str) -> web.Response:
    body = f"<Error><Code>{escape(code)}</Code><Message>no</Message></Error>"
    return web.Response(status=status, body=body.encode(), content_type="application/xml")


class FakeS3:
    """Objects in a dict, and faults for the next requests."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: deque[Fault] = deque()
        self.requests: list[str] = []
        self.honours_conditions = True

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{bucket:[^/]+}{key:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(f"{request.method} {request.path_qs}")
        if self.faults:
            reply = self.faults.popleft()(self, request, body)
            if isawaitable(reply):
                reply = await reply
            if reply is not None:
                return reply
        return self.do(request, body)

    def do(self, request: web.Request, body: bytes) -> web.Response:
        key = request.match_info["key"].removeprefix("/")
        if request.method == "PUT" and "uploadId" not in request.query:
            if self.honours_conditions and request.headers.get("If-None-Match") == "*" and key in self.objects:
                return error(412, "PreconditionFailed")
            self.objects[key] = body
            return web.Response(headers={"ETag": '"e"'})
        if request.method == "PUT":
            return web.Response(headers={"ETag": '"part"'})
        if request.method == "POST" and "uploads" in request.query:
            upload = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
            return web.Response(text=upload, content_type="application/xml")
        if request.method == "POST":
            self.objects[key] = b"complete"
            done = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
            return web.Response(text=done, content_type="application/xml")
        if request.method == "DELETE":
            return web.Response(status=204)
        if key not in self.objects:
            return error(404, "NoSuchKey")
        return web.Response(body=self.objects[key])


def says(status: int, code: str) -> Fault:
    """Refuse one request."""
    return lambda _store, _request, _body: error(status, code)


def loses_reply(store: FakeS3, request: web.Request, body: bytes) -> web.Response:
    """Do what was asked, and cut the connection before the answer."""
    store.do(request, body)
    request.transport.abort()
    return web.Response()


def cuts(_store: FakeS3, request: web.Request, _body: bytes) -> web.Response:
    """Cut the connection, with nothing done."""
    request.transport.abort()
    return web.Response()


async def ends_early(_store: FakeS3, request: web.Request, _body: bytes) -> web.StreamResponse:
    """Announce ten bytes, send five, and cut the connection."""
    reply = web.StreamResponse(headers={"Content-Length": "10"})
    await reply.prepare(request)
    await reply.write(b"01234")
    request.transport.close()
    return reply


def moves_to(url: str) -> Fault:
    """Send the caller elsewhere."""
    return lambda _store, _request, _body: web.Response(status=307, headers={"Location": url})


def answers(body: bytes, **how: object) -> Fault:
    """Answer with any bytes."""
    return lambda _store, _request, _body: web.Response(body=body, **how)
