# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The SDK against a gateway in this process."""

import asyncio
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from dragoman_client import AsyncClient, Client, FeedbackItem
from dragoman_client.connection import Endpoint
from dragoman_client.local import keys
from dragoman_client.local.ports import FixedPorts, free_port
from dragoman_client.local.user_tokens import UserTokenIssuer
from dragoman_common.clock import SystemClock
from dragoman_common.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)


def token(platform: Any) -> str:
    return UserTokenIssuer.load(keys.user_key_file(platform.home)).token(clock=SystemClock(), subject="ada")


async def test_async_client_answers_rows_in_order(platform: Any) -> None:
    async with AsyncClient(platform.state.grpc_target, token(platform)) as client:
        result = await client.classify("r8", ["record profit", "a merger"], 7, client_id="mine")
    assert [row.label for row in result.rows] == ["earn", "acq"]
    assert (result.version, result.client_id, result.labels) == (7, "mine", ("acq", "earn"))
    assert result.rows[0].scores == (0.25, 0.75)


async def test_client_answers_the_same_from_plain_code(platform: Any) -> None:
    def calls() -> tuple[str, int, list[str]]:
        with Client(platform.state.grpc_target, token(platform)) as client:
            label = client.classify("r8", ["record profit"]).rows[0].label
            accepted = client.feedback([FeedbackItem(request_id="r-77", row=0, true_label="earn")])
            return label, accepted, [served.model for served in client.models()]

    assert await asyncio.to_thread(calls) == ("earn", 1, ["r8"])


async def test_failed_call_raises_what_it_meant(platform: Any) -> None:
    async with AsyncClient(platform.state.grpc_target, token(platform)) as client:
        with pytest.raises(NotFoundError, match="no model 'nope'"):
            await client.classify("nope", ["text"])
        with pytest.raises(InvalidArgumentError, match=r"texts\[0\] is empty"):
            await client.classify("r8", [""])
    async with AsyncClient(platform.state.grpc_target, "x.y.z") as client:
        with pytest.raises(UnauthenticatedError):
            await client.models()


def test_call_to_nobody_says_that_nobody_listens_and_what_to_do() -> None:
    port = free_port()
    with Client(f"127.0.0.1:{port}", "t") as client:
        with pytest.raises(UnavailableError, match=f"nobody listens on 127.0.0.1:{port}: start the platform"):
            client.models()


def test_call_to_the_http_port_says_so() -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with Client(f"127.0.0.1:{server.server_port}", "t") as client:
            with pytest.raises(UnavailableError, match="does not speak gRPC: it may be the HTTP port"):
                client.models()
    finally:
        server.shutdown()
        server.server_close()


def test_call_that_is_never_answered_says_which_time_to_raise() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with Client(f"127.0.0.1:{silent.getsockname()[1]}", "t", timeout_s=0.2) as client:
            with pytest.raises(DeadlineExceededError, match=r"no answer from 127\.0\.0\.1:\d+ in time: .*timeout_s"):
                client.models()


async def test_message_over_the_cap_names_both_sizes(platform: Any) -> None:
    async with AsyncClient(platform.state.grpc_target, token(platform)) as client:
        with pytest.raises(OverloadedError, match=r"has 5\d{6} bytes, at most 4194304: send fewer") as caught:
            await client.classify("r8", ["x" * 5_000_000])
    assert caught.value.retry_after_s is None


async def test_texts_that_cannot_be_sent_are_refused_by_row(platform: Any) -> None:
    async with AsyncClient(platform.state.grpc_target, token(platform)) as client:
        with pytest.raises(InvalidArgumentError, match=r"texts\[1\]: character 3 is '\\ud83d', a lone surrogate"):
            await client.classify("r8", ["fine", "a \ud83d"])
        with pytest.raises(InvalidArgumentError, match=r"texts is one str, must be a list"):
            await client.classify("r8", "one string")
        with pytest.raises(InvalidArgumentError, match=r"texts\[0\] is bytes, must be a str"):
            await client.classify("r8", [b"x"])  # type: ignore[list-item]
        with pytest.raises(InvalidArgumentError, match=r"version is -1, must be a whole number"):
            await client.classify("r8", ["x"], -1)
        with pytest.raises(InvalidArgumentError, match=r"items\[0\]\.row is -1"):
            await client.feedback([FeedbackItem(request_id="r", row=-1, true_label="x")])


def test_token_that_no_header_can_carry_is_refused() -> None:
    for text in ("a\nb", "\u00fc"):
        with pytest.raises(UnauthenticatedError, match="line break or other characters"):
            Client("127.0.0.1:1", text)


def test_call_without_a_deadline_cannot_be_made() -> None:
    for timeout_s in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidArgumentError, match="every call needs a deadline"):
            Client("127.0.0.1:1", "t", timeout_s=timeout_s)


def test_token_goes_in_the_clear_to_this_machine_only(tmp_path: Path) -> None:
    assert Endpoint("127.0.0.1:9000", "t").credentials() is None
    assert Endpoint("localhost:9000", "t").credentials() is None
    assert Endpoint("dragoman.example:443", "t").credentials() is not None
    assert Endpoint("127.0.0.1.example:9000", "t").credentials() is not None


def test_token_is_in_no_repr() -> None:
    assert "secret-token" not in repr(Endpoint("127.0.0.1:9000", "secret-token"))


def test_port_in_use_is_named_with_the_option_that_changes_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(FailedPreconditionError, match=f"port {port} .* --http-port or DRAGOMAN_HTTP_PORT"):
            FixedPorts(grpc=free_port(), http=port).check_free()
