# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Pages of a list: at most so many items, and never more bytes than a message may have."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from dragoman_common.errors import InvalidArgumentError

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
# Leaves room below the 4 MiB that both sides of a channel accept.
MAX_PAGE_BYTES = 3 << 20

T = TypeVar("T")
M = TypeVar("M", bound=Message)


def page_size(asked: int) -> int:
    """Return how many items a page may have.

    Raises:
        InvalidArgumentError: negative or above the limit.
    """
    if not 0 <= asked <= MAX_PAGE_SIZE:
        raise InvalidArgumentError(f"page_size must be from 1 to {MAX_PAGE_SIZE}, or 0 for {DEFAULT_PAGE_SIZE}")
    return asked or DEFAULT_PAGE_SIZE


def number_after(token: str) -> int | None:
    """Return the number at which the page before ended, None for the first page.

    Raises:
        InvalidArgumentError: not a token of such a list.
    """
    if not token:
        return None
    if not (token.isascii() and token.isdecimal() and len(token) <= 16):
        raise InvalidArgumentError("page_token is not one that this list returned")
    return int(token)


def fill_page(items: Sequence[T], size: int, to_pb: Callable[[T], M]) -> tuple[list[M], bool]:
    """Convert the first items, as many as fit.

    Returns:
        The messages, at least one if there is an item; and whether items are left.
    """
    messages: list[M] = []
    num_bytes = 0
    for item in items[:size]:
        message = to_pb(item)
        num_bytes += message.ByteSize()
        if messages and num_bytes > MAX_PAGE_BYTES:
            break
        messages.append(message)
    return messages, len(messages) < len(items)
