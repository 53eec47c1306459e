# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the supervisor tells others about the platform: run/state.json, replaced whole at every change.

Owns the file's format and how it is read. Whether a supervisor runs is not in the file: that is the lock which it
holds for its life.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dragoman_client.local.home import Home
from dragoman_client.local.process import ProcessIdentity
from dragoman_common.atomic import write_atomic
from dragoman_common.errors import DataLossError, FailedPreconditionError, UnavailableError


@dataclass(kw_only=True)
class ServiceState:
    """One service, as the supervisor last saw it. state: waiting, starting, ready, restarting, stopped."""

    name: str
    state: str = "waiting"
    pid: int = 0
    start_mark: str = ""
    start_time: str = ""
    port: int = 0
    num_restarts: int = 0
    log: str = ""

    @property
    def process(self) -> ProcessIdentity:
        return ProcessIdentity(self.pid, self.start_mark)


@dataclass(kw_only=True)
class PlatformState:
    """The whole platform. phase: starting, ready, stopping, failed."""

    run_id: str
    phase: str
    supervisor_pid: int
    supervisor_start_mark: str
    grpc_target: str
    http_address: str
    failed_service: str = ""
    failure: str = ""
    services: list[ServiceState] = field(default_factory=list)

    @property
    def supervisor(self) -> ProcessIdentity:
        return ProcessIdentity(self.supervisor_pid, self.supervisor_start_mark)

    def service(self, name: str) -> ServiceState:
        """One service's state.

        Raises:
            UnavailableError: the platform that runs has no such service: it is of another release.
        """
        for service in self.services:
            if service.name == name:
                return service
        raise UnavailableError(f"the platform that runs has no {name}; restart it with `dragoman down`, `dragoman up`")

    def target(self, name: str) -> str:
        """host:port of a service's gRPC server."""
        return f"127.0.0.1:{self.service(name).port}"

    def write(self, path: Path) -> None:
        write_atomic(path, json.dumps(asdict(self), indent=1).encode())


def read_state(home: Home) -> PlatformState | None:
    """The last written state; None when there is none. It says nothing about what runs now.

    Raises:
        DataLossError: the file is not what a supervisor of this release wrote.
    """
    try:
        document: dict[str, Any] = json.loads(home.state_file.read_bytes())
        services = [ServiceState(**service) for service in document.pop("services")]
        return PlatformState(**document, services=services)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataLossError(
            f"{home.state_file} is damaged or of another release; end its processes, remove the file, and start again"
        ) from error


def is_supervised(home: Home) -> bool:
    """Whether a supervisor of this home lives: it holds the lock as long as it does."""
    try:
        descriptor = os.open(home.lock_file, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _locked_within(descriptor: int, timeout_s: float) -> bool:
    ends_at_s = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A passing is_supervised() holds the lock for microseconds: one refusal alone proves no supervisor.
            if time.monotonic() > ends_at_s:
                return False
            time.sleep(0.05)
        else:
            return True


@contextmanager
def supervision(home: Home) -> Iterator[None]:
    """Hold the home's lock; it is let go by the kernel also when the process is killed.

    Raises:
        FailedPreconditionError: another supervisor holds it.
    """
    descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _locked_within(descriptor, 0.5):
            raise FailedPreconditionError(f"a platform is already running in {home.root}; see `dragoman status`")
        yield
    finally:
        os.close(descriptor)
