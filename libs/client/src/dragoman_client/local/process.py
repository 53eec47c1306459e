# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which process is meant: a pid alone is not enough, because the system hands the number out again.

Reads Linux's /proc. A process is its pid and its start mark (boot id and start tick); every process of a platform also
carries the run's random id in its environment, so that one whose parent is gone is still found.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

RUN_ID_VARIABLE = "DRAGOMAN_RUN_ID"
_JOB_VARIABLE = "DRAGOMAN_TRAINER_OUTPUT_DIR"


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that can be told from a later one with the same number."""

    pid: int
    start_mark: str

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """The process that has the number now; None when there is none, or only its exit status is left."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name field may hold spaces and brackets: the numbers start after the last bracket.
        fields = stat.rpartition(")")[2].split()
        if fields[0] in {"Z", "X"}:
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return cls(pid, f"{boot}:{fields[19]}")

    def is_alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Signal the process if it is still the one meant."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def processes_of_run(run_id: str, jobs: Path) -> tuple[ProcessIdentity, ...]:
    """Every process of a run but this one: it has the run's id in its environment, or is a job.

    Args:
        run_id: the run's random id.
        jobs: the folder that the home's training jobs write to: they inherit little of their launcher's environment,
            but they are told where to write.
    """
    mark = f"{RUN_ID_VARIABLE}={run_id}".encode()
    job_mark = f"{_JOB_VARIABLE}={jobs}/".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            entries = (folder / "environ").read_bytes().split(b"\0")
            if mark in entries or any(entry.startswith(job_mark) for entry in entries):
                identity = ProcessIdentity.of(int(folder.name))
                found += [identity] if identity else []
    return tuple(found)


def wait_gone(processes: Iterable[ProcessIdentity], timeout_s: float) -> tuple[ProcessIdentity, ...]:
    """Wait until all have ended; returns those that are left when the time is up."""
    ends_at_s = time.monotonic() + timeout_s
    alive = tuple(process for process in processes if process.is_alive())
    while alive and time.monotonic() < ends_at_s:
        time.sleep(0.05)
        alive = tuple(process for process in alive if process.is_alive())
    return alive


def end(processes: Iterable[ProcessIdentity], grace_s: float) -> None:
    """SIGTERM, then SIGKILL for those that have not ended after `grace_s`."""
    wanted = tuple(processes)
    for process in wanted:
        process.send(signal.SIGTERM)
    left = wait_gone(wanted, grace_s)
    for process in left:
        process.send(signal.SIGKILL)
    wait_gone(left, 5.0)
