# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How much a server spends on callers who need not say who they are: pure bookkeeping of health's calls.

Every call counts against the server's bound on calls at once, an anonymous one too. Without bounds of their own, anyone
who reaches the port could hold all of them open and lock out those who may call.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from dragoman_common.errors import OverloadedError

MAX_CALL_LIFE_S = 5.0
"""Of an anonymous call with one reply, the wait for its request included: health's answer is at hand."""
_RETRY_AFTER_S = 1.0


class AnonymousCalls:
    """The anonymous calls of a server.

    Watches and other calls are bounded apart: probes are answered while others hold all the watches.

    Args:
        max_calls: of each kind at once.
        max_watch_life_s: a watch ends then, and its follower may begin another.
    """

    def __init__(self, *, max_calls: int, max_watch_life_s: float) -> None:
        self.max_calls = max_calls
        self._max_watch_life_s = max_watch_life_s
        self._num_running = {True: 0, False: 0}

    def max_life_s(self, *, is_watch: bool) -> float:
        return self._max_watch_life_s if is_watch else MAX_CALL_LIFE_S

    @contextmanager
    def admitted(self, *, is_watch: bool) -> Iterator[None]:
        """Count the call of this block.

        Raises:
            OverloadedError: too many run.
        """
        if self._num_running[is_watch] >= self.max_calls:
            what = "watches" if is_watch else "calls"
            raise OverloadedError(
                f"{self.max_calls} {what} without a credential run already; try again later",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._num_running[is_watch] += 1
        try:
            yield
        finally:
            self._num_running[is_watch] -= 1
