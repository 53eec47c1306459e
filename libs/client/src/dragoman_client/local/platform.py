# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Bringing the laptop platform up and down: start the supervisor, wait for it, end it, clear up after it."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dragoman_client.local import keys
from dragoman_client.local.health import is_serving
from dragoman_client.local.home import Home
from dragoman_client.local.parts import PREFIX as PARTS_PREFIX
from dragoman_client.local.parts import parts_of_environ, remember
from dragoman_client.local.ports import FixedPorts
from dragoman_client.local.process import ProcessIdentity, end, processes_of_run, wait_gone
from dragoman_client.local.services import platform_services
from dragoman_client.local.state import PlatformState, is_supervised, read_state, supervision
from dragoman_client.local.supervisor import Supervisor
from dragoman_common.errors import FailedPreconditionError, UnavailableError

_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 60.0
SERVICE_GRACE_S = 15.0
# What a user's shell may hold for the command, and no service has any use for.
_USERS_OWN = frozenset({"DRAGOMAN_TOKEN", "DRAGOMAN_TARGET"})


@dataclass(frozen=True, slots=True)
class Platform:
    """The platform of one home."""

    home: Home
    environ: Mapping[str, str]

    def running(self) -> PlatformState | None:
        """The state of the platform that runs now; None when none does."""
        return read_state(self.home) if is_supervised(self.home) else None

    def require_running(self) -> PlatformState:
        """As `running`.

        Raises:
            UnavailableError: none runs, or it is not ready.
        """
        state = self.running()
        if state is None:
            raise UnavailableError(f"no platform is running in {self.home.root}; start it with `dragoman up --detach`")
        if state.phase != "ready":
            raise UnavailableError(f"the platform in {self.home.root} is {state.phase}; see `dragoman status`")
        return state

    async def supervise(self, ports: FixedPorts, on_state: Callable[[PlatformState], None]) -> PlatformState:
        """Be the supervisor, in this process, until told to stop.

        Raises:
            FailedPreconditionError: a port is in use, another supervisor runs, or a real part cannot be used.
            InvalidArgumentError: the real parts that the environment asks for are not described.
        """
        self.home.create()
        with supervision(self.home):
            self._clear_leftovers()
            ports.check_free()
            parts = parts_of_environ(self.environ)
            if parts is not None:
                parts.check()
            remember(self.home, parts)
            keys.ensure(self.home)
            own = ProcessIdentity.of(os.getpid())
            state = PlatformState(
                run_id=secrets.token_hex(16),
                phase="starting",
                supervisor_pid=os.getpid(),
                supervisor_start_mark=own.start_mark if own else "",
                grpc_target=f"127.0.0.1:{ports.grpc}",
                http_address=f"127.0.0.1:{ports.http}",
            )
            supervisor = Supervisor(
                self.home,
                platform_services(self.home, ports, self.environ),
                state,
                environ={
                    name: value
                    for name, value in self.environ.items()
                    if name not in _USERS_OWN and not name.startswith(PARTS_PREFIX)
                },
                is_serving=is_serving,
                on_change=on_state,
            )
            await supervisor.run()
            if state.phase != "failed":
                self._remove_run_files()
            return state

    def start_detached(self, ports: FixedPorts, on_state: Callable[[PlatformState], None]) -> PlatformState:
        """Start a supervisor that outlives this process, and wait until everything is ready.

        Raises:
            FailedPreconditionError: a port is in use, or a real part cannot be used.
            InvalidArgumentError: the real parts that the environment asks for are not described.
            UnavailableError: a service did not come up; the message ends with the last lines of its log.
        """
        self.home.create()
        ports.check_free()
        if (parts := parts_of_environ(self.environ)) is not None:
            parts.check()
        command = [sys.executable, "-m", "dragoman_client.local", str(self.home.root), str(ports.grpc), str(ports.http)]
        with self.home.log_file("supervisor").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  our own module, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.environ),
                start_new_session=True,
            )
        ends_at_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < ends_at_s:
            state = read_state(self.home)
            if state is not None and state.supervisor_pid == process.pid:
                on_state(state)
                if state.phase == "ready":
                    return state
            if process.poll() is not None:
                reason = self._why_failed(read_state(self.home), process.pid)
                self._remove_run_files()
                raise UnavailableError(reason)
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        raise UnavailableError(f"the platform was not ready after {_START_TIMEOUT_S:g} s; see {self.home.logs}")

    def stop(self) -> bool:
        """End the platform, also when its supervisor was killed; True when something was running.

        Afterwards no process of it is left, and no file in run/.
        """
        state = read_state(self.home)
        was_running = is_supervised(self.home)
        if was_running and state is None:
            raise FailedPreconditionError("a platform is just starting; try again in a moment")
        if was_running and state is not None:
            state.supervisor.send(signal.SIGTERM)
            if wait_gone((state.supervisor,), _STOP_TIMEOUT_S):
                end((state.supervisor,), 0.0)
        was_running |= self._clear_leftovers()
        self._remove_run_files()
        return was_running

    def _clear_leftovers(self) -> bool:
        """End the processes of a supervisor that is gone; True when there were any."""
        state = read_state(self.home)
        if state is None:
            return False
        recorded = tuple(service.process for service in state.services if service.process.is_alive())
        left = tuple({*recorded, *processes_of_run(state.run_id, self.home.jobs)})
        # Services end first: what they started (training, model processes) is theirs to end in order.
        end(recorded, SERVICE_GRACE_S)
        end(processes_of_run(state.run_id, self.home.jobs), SERVICE_GRACE_S)
        return bool(left)

    def _remove_run_files(self) -> None:
        # The lock file is not among them: removing it would let two supervisors lock two files of one name.
        for path in self.home.run.glob("*"):
            path.unlink(missing_ok=True)

    def _why_failed(self, state: PlatformState | None, pid: int) -> str:
        if state is not None and state.supervisor_pid == pid and state.failure:
            return state.failure
        log = self.home.log_file("supervisor")
        return f"the supervisor ended; the end of {log}:\n" + "\n".join(log.read_text().splitlines()[-15:])
