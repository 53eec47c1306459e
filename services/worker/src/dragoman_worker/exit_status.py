# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How a child process ended, and whether that was its own doing. Pure."""

import signal
from dataclasses import dataclass

# Signals that a process brings on itself; any other was sent.
OWN_SIGNALS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP}
)

DEVICE_LOST = 75
"""A model process whose device failed ends with this (EX_TEMPFAIL of sysexits.h); nothing else here does."""


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """As subprocess gives it: an exit status, or a signal's number negated."""

    status: int

    @property
    def reason(self) -> str:
        """SIGKILL or exit status 3, for example."""
        if self.status == DEVICE_LOST:
            return "its device failed"
        if self.status >= 0:
            return f"exit status {self.status}"
        try:
            return signal.Signals(-self.status).name
        except ValueError:
            # The real-time signals between the first and the last have no names.
            return f"signal {-self.status}"

    @property
    def is_own_doing(self) -> bool:
        """It ended by a fault inside, or by exiting, not by a signal that somebody sent or since its device failed."""
        if self.status == DEVICE_LOST:
            return False
        return self.status >= 0 or -self.status in OWN_SIGNALS
