# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Asks who does not answer until they do: what is not known to have failed has not failed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from dragoman_common.errors import UnavailableError

FIRST_RETRY_DELAY_S: Final = 0.2
MAX_RETRY_DELAY_S: Final = 15.0

T = TypeVar("T")

logger = logging.getLogger(__name__)


async def patiently(work: Callable[[], Awaitable[T]], what: str = "cluster does not answer", **extra: str) -> T:
    """What `work` returns, repeated while it raises UnavailableError; any other error is the caller's.

    Args:
        work: to be repeated.
        what: the log's line for each failure.
        extra: the line's fields.
    """
    delay_s = FIRST_RETRY_DELAY_S
    while True:
        try:
            return await work()
        except UnavailableError as error:
            logger.warning(what, extra={**extra, "reason": error.message, "retry_s": delay_s})
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_RETRY_DELAY_S)
