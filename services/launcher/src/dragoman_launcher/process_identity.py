# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which process is which, on Linux: a pid alone is only a number that the kernel hands out again.

A process is named by (boot id, pid, start time in clock ticks). A job's members are found in /proc by their process
group and proved to be ours by the leader's name or by the job's mark in their environment, while a pidfd is held: what
is then signalled through the pidfd is the process that was looked at, or nothing.

Source: proc_pid_stat(5) fields 3, 5, 6 and 22; pidfd_open(2), pidfd_send_signal(2).
"""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessName:
    """A process for good: no other will ever have this name."""

    boot_id: str
    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStat:
    state: str
    group: int
    start_ticks: int


def boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def stat(pid: int) -> ProcessStat | None:
    """What the kernel says of a process; None when there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in parentheses and may hold anything, spaces and parentheses too.
    fields = text.rpartition(")")[2].split()
    return ProcessStat(state=fields[0], group=int(fields[2]), start_ticks=int(fields[19]))


def name_of(pid: int) -> ProcessName | None:
    found = stat(pid)
    return None if found is None else ProcessName(boot_id=boot_id(), pid=pid, start_ticks=found.start_ticks)


def open_process(name: ProcessName) -> int | None:
    """A pidfd of exactly this process, for the caller to close; None when it is gone, whoever has its number now."""
    try:
        descriptor = os.pidfd_open(name.pid)
    except ProcessLookupError:
        return None
    if name_of(name.pid) == name:
        return descriptor
    os.close(descriptor)
    return None


def has_ended(descriptor: int) -> bool:
    """Whether the process of a pidfd has ended (it may still wait to be reaped)."""
    return bool(select.select([descriptor], [], [], 0)[0])


def signal_group(leader: ProcessName, mark: bytes, number: signal.Signals) -> int:
    """Signal every living process of the group that `leader` leads or led.

    Args:
        leader: the group's first process; it may be gone.
        mark: an entry of the environment, NAME=value, that the group's processes were started with.
        number: the signal.

    Returns:
        How many were signalled.
    """
    return sum(_signal(pid, leader, mark, number) for pid in _pids())


def _signal(pid: int, leader: ProcessName, mark: bytes, number: signal.Signals) -> bool:
    if pid in (os.getpid(), 1):
        return False
    with _held(pid) as descriptor:
        if descriptor is None or not _is_member(pid, leader, mark):
            return False
        try:
            signal.pidfd_send_signal(descriptor, number)
        except (ProcessLookupError, PermissionError):
            return False
    return True


def _is_member(pid: int, leader: ProcessName, mark: bytes) -> bool:
    found = stat(pid)
    if found is None or found.group != leader.pid or found.state in "ZX":
        return False
    # While the leader exists, even as a zombie, nobody else can have its group.
    return name_of(leader.pid) == leader or mark in _environment(pid)


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        # Gone, or not ours to read: then it is not ours to signal either.
        return []


@contextmanager
def _held(pid: int) -> Iterator[int | None]:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
