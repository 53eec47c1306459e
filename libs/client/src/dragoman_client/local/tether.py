# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Ties a service to its supervisor, then becomes the service: however the supervisor dies, the service is told to end.

Run by path, before any site package is on the path, so it must import nothing outside the standard library:
    python -S tether.py SUPERVISOR_PID COMMAND [ARGUMENT...]
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the command of `arguments[1:]`, which the kernel ends when process `arguments[0]` ends."""
    supervisor_pid, command = int(arguments[0]), arguments[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    # Survives execve(2); Source: prctl(2).
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # The supervisor may have died between the fork and the line above; then the signal will never come.
    if os.getppid() != supervisor_pid:
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  no shell, and the command is the supervisor's own


if __name__ == "__main__":
    main(sys.argv[1:])
