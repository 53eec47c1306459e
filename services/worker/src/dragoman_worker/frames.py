# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Frames on the socket between the front and a model process. Framing only: headers are opaque bytes here.

Owns the layout and the limits. Not what a header means (process_messages.py), nor the loops on either side.

    4 bytes: header length, little-endian | header | payload: raw tensors, as long as the header says

A length is compared with its limit before memory is taken for it: either side may be a broken process. The payload's
length is in the header, so the reader is given a function from header to length; it checks MAX_PAYLOAD_BYTES itself.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

H = TypeVar("H")

LENGTH_BYTES = 4
MAX_HEADER_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 64 << 20


class FrameError(ConnectionError):
    """The peer broke the layout, a limit, or off inside a frame: the connection is of no further use."""


def head(header: bytes, payload_bytes: int) -> bytes:
    """Return what goes before the payload.

    Raises:
        FrameError: the frame would break a limit; nothing must be sent.
    """
    _check(len(header), payload_bytes)
    return len(header).to_bytes(LENGTH_BYTES, "little") + header


def send(connection: socket.socket, header: bytes, payload: bytes | memoryview = b"") -> None:
    """Write one frame, blocking.

    Raises:
        FrameError: see head.
        OSError: the peer is gone.
    """
    connection.sendall(head(header, len(payload)))
    if payload:
        connection.sendall(payload)


def receive(
    connection: socket.socket, parse: Callable[[bytes], H], payload_bytes: Callable[[H], int]
) -> tuple[H, bytearray] | None:
    """Read one frame, blocking.

    Args:
        connection: A stream socket.
        parse: From header bytes to header; its errors pass through.
        payload_bytes: From header to the payload's length.

    Returns:
        Header and payload, or None when the peer closed between two frames.

    Raises:
        FrameError: a limit is broken, or the peer closed inside a frame.
        OSError: the connection failed.
    """
    prefix = _receive_exactly(connection, LENGTH_BYTES)
    if prefix is None:
        return None
    header = parse(bytes(_present(_receive_exactly(connection, _header_bytes(prefix)))))
    size = _check(0, payload_bytes(header))
    return header, _present(_receive_exactly(connection, size))


async def receive_async(
    reader: asyncio.StreamReader, parse: Callable[[bytes], H], payload_bytes: Callable[[H], int]
) -> tuple[H, bytes] | None:
    """As receive, on a stream of asyncio."""
    try:
        prefix = await reader.readexactly(LENGTH_BYTES)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise FrameError("the peer closed inside a frame") from error
        return None
    try:
        header = parse(await reader.readexactly(_header_bytes(prefix)))
        return header, await reader.readexactly(_check(0, payload_bytes(header)))
    except asyncio.IncompleteReadError as error:
        raise FrameError("the peer closed inside a frame") from error


def _header_bytes(prefix: bytes | bytearray) -> int:
    size = int.from_bytes(prefix, "little")
    _check(size, 0)
    return size


def _check(header_bytes: int, payload_bytes: int) -> int:
    if header_bytes > MAX_HEADER_BYTES:
        raise FrameError(f"a header of {header_bytes} bytes, the limit is {MAX_HEADER_BYTES}")
    if not 0 <= payload_bytes <= MAX_PAYLOAD_BYTES:
        raise FrameError(f"a payload of {payload_bytes} bytes, the limit is {MAX_PAYLOAD_BYTES}")
    return payload_bytes


def _present(data: bytearray | None) -> bytearray:
    if data is None:
        raise FrameError("the peer closed inside a frame")
    return data


def _receive_exactly(connection: socket.socket, size: int) -> bytearray | None:
    """Return `size` bytes; None when the peer closed before the first of them."""
    data = bytearray(size)
    view = memoryview(data)
    done = 0
    while done < size:
        count = connection.recv_into(view[done:])
        if not count:
            if not done:
                return None
            raise FrameError("the peer closed inside a frame")
        done += count
    return data
