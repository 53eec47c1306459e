# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The time that is left for the call being handled: one budget, from the client's edge to the last service."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from dragoman_common.errors import DeadlineExceededError

_ends_at_s: ContextVar[float | None] = ContextVar("dragoman_deadline", default=None)


def remaining_s() -> float | None:
    """Seconds left for the current call, not below 0; None outside a call."""
    ends_at_s = _ends_at_s.get()
    return None if ends_at_s is None else max(0.0, ends_at_s - time.monotonic())


def check(stage: str) -> None:
    """Stop work that nobody waits for any more.

    Raises:
        DeadlineExceededError: the time is used up; the message names the stage that was not begun.
    """
    if remaining_s() == 0.0:
        raise DeadlineExceededError(f"the deadline passed before {stage}; give the call more time")


@contextmanager
def within(timeout_s: float) -> Iterator[None]:
    """Give the block at most `timeout_s`, and no more than what the enclosing call has left."""
    left_s = remaining_s()
    token = _ends_at_s.set(time.monotonic() + (timeout_s if left_s is None else min(timeout_s, left_s)))
    try:
        yield
    finally:
        _ends_at_s.reset(token)
