# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What SIGTERM does to a run: it ends wherever it is, except where the signal is held off, which then looks itself.

A step that is torn in the middle has left weights, optimiser and generators of different moments: nothing that could be
saved. So training steps hold the signal off, look after each, save, and end then.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dragoman_trainer.ports import JobCancelledError


class Stop:
    """Whether the process was asked to stop."""

    def __init__(self) -> None:
        """Nobody has asked."""
        self._asked = threading.Event()
        self._is_held_off = False

    @property
    def is_asked(self) -> bool:
        """Whether the run is to end, now or at the next look."""
        return self._asked.is_set()

    def on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        """Be told, as a signal handler.

        Raises:
            JobCancelledError: unless it is held off.
        """
        # What is raised inside of a callback of C code may get lost; `check` then finds this.
        self._asked.set()
        self.check()

    def check(self) -> None:
        """Look.

        Raises:
            JobCancelledError: somebody has asked, and it is not held off.
        """
        if self.is_asked and not self._is_held_off:
            raise JobCancelledError("the process was asked to stop")

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """Raise nothing meanwhile; what was asked for is raised at the end, if it is reached."""
        self._is_held_off = True
        try:
            yield
        finally:
            self._is_held_off = False
        self.check()
