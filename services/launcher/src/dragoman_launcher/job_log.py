# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a job's log file: by offset, and its last lines for the message of a failed job."""

import os
from pathlib import Path
from typing import Final

TAIL_BYTES: Final = 8 * 1024
TAIL_LINES: Final = 20


def log_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def read_log(path: Path, offset_bytes: int, max_bytes: int) -> bytes:
    """At most `max_bytes` from the offset; empty at or behind the end, or when there is no log yet."""
    try:
        # Never through a link: the job owns this folder, and could point the name anywhere.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(descriptor, max_bytes, offset_bytes)
    finally:
        os.close(descriptor)


def log_tail(path: Path) -> str:
    """The last lines, decoded, without control characters other than line ends and tabs."""
    size = log_bytes(path)
    return last_lines(read_log(path, max(0, size - TAIL_BYTES), TAIL_BYTES))


def last_lines(data: bytes) -> str:
    """The same of what was read."""
    text = data[-TAIL_BYTES:].decode(errors="replace")
    # A progress bar rewrites its line with carriage returns: what was overwritten is not worth a line.
    lines = [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n")]
    clean = ["".join(c for c in line if c.isprintable() or c == "\t") for line in lines]
    return "\n".join([line for line in clean if line.strip()][-TAIL_LINES:])
