# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a service needs of names: the addresses of one, and whenever they change. resolver.py asks the system's."""

from collections.abc import Callable
from typing import Protocol

from dragoman_common.endpoint import Endpoint


class NameService(Protocol):
    """Where processes are that come and go behind one name."""

    async def follow(
        self, endpoint: Endpoint, take: Callable[[tuple[str, ...]], None], *, on_asked: Callable[[], None] | None = None
    ) -> None:
        """Follow one name until cancelled; never returns, and raises nothing of its own.

        Args:
            endpoint: The name. One that is fixed is told as it stands.
            take: Told the addresses (host:port, sorted, without doubles) at first and whenever they have changed. No
                answer changes nothing: the last known addresses hold. That a name has no address is an answer: ().
            on_asked: Called after each question, answered or not.
        """
        ...
