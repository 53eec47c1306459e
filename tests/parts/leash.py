# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Ends a part when the test run that started it is killed, and can end nothing itself.

The kernel's own signal for that follows the thread that started the process, and fixtures run in threads that end
earlier. So a small process waits for the end of a pipe that only the run holds open.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


class Leash:
    """While it is not let go of, the process of this id is killed at the end of ours."""

    def __init__(self, pid: int) -> None:
        command = [sys.executable, "-S", "-E", __file__, str(pid), started(pid)]
        # A session of its own, so that what ends the run from a terminal does not end it first.
        self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def let_go(self) -> None:
        """Call it when the process has been waited for."""
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        self._watcher.wait()


def started(pid: int) -> str:
    """Return when a process started, in the kernel's ticks, or "" if it is gone: an id alone can come again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _watch(pid: int, start: str) -> None:
    sys.stdin.buffer.read()
    if start and started(pid) == start:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), sys.argv[2])
