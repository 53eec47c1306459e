# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""gRPC takes an option of any name in silence, and does nothing for one that it does not know."""

from pathlib import Path

import pytest
from grpc._cython import cygrpc

from dragoman_common import channel, server
from dragoman_common.testing import server_settings

NAMES = sorted(
    {name for name, _ in server._options(server_settings())}
    | {name for name, _ in channel._options(1 << 20, "registry")}
)


@pytest.fixture(scope="module")
def library() -> bytes:
    return Path(cygrpc.__file__).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_every_option_that_is_set_is_one_that_the_library_has(library: bytes, name: str) -> None:
    # A misspelt ping interval let servers end every quiet stream after two minutes: "Too many pings".
    is_there = name.encode() + b"\0" in library
    assert is_there
