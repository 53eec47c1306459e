# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One supervised service: started, watched, and started again on the same port when it ends by itself.

Owns the process and its restarts. Does not decide the order among services, nor when the platform stops.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from dragoman_client.local.home import Home
from dragoman_client.local.process import ProcessIdentity
from dragoman_client.local.service_spec import ServiceSpec, ServingCheck
from dragoman_client.local.state import ServiceState
from dragoman_common.errors import UnavailableError

_TETHER = str(Path(__file__).with_name("tether.py"))
_MAX_LOG_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """How patient the supervisor is. Seconds."""

    start_timeout_s: float = 60.0
    poll_s: float = 0.05
    first_backoff_s: float = 0.5
    max_backoff_s: float = 15.0
    healthy_after_s: float = 60.0
    """A service that was ready this long starts its next restart with the first backoff again."""
    stop_grace_s: float = 15.0


class StartFailedError(UnavailableError):
    """A service did not come up."""

    def __init__(self, service: str, message: str) -> None:
        super().__init__(message)
        self.service = service


class Child:
    """A service through all its lives. `on_change` is called whenever `state` has changed."""

    def __init__(
        self,
        spec: ServiceSpec,
        home: Home,
        *,
        environ: Mapping[str, str],
        is_serving: ServingCheck,
        timing: Timing,
        on_change: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.state = ServiceState(name=spec.name, port=spec.port, log=str(home.log_file(spec.name)))
        self.ready = asyncio.Event()
        self._ready_file = home.ready_file(spec.name)
        self._environ = dict(environ)
        self._is_serving = is_serving
        self._timing = timing
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None

    async def keep(self, ports: Callable[[], Mapping[str, int]]) -> None:
        """Run the service until cancelled.

        Raises:
            StartFailedError: its very first start failed; later failures are retried with growing pauses.
        """
        pause_s = self._timing.first_backoff_s
        while True:
            process = await self._start(ports())
            ready_at_s = await self._until_ready_or_gone(process)
            if ready_at_s is None and not self.ready.is_set():
                reason = self._why_not_ready(process)
                await self._kill(process)
                raise StartFailedError(self.spec.name, reason)
            if ready_at_s is not None:
                self._change(state="ready")
                self.ready.set()
                await process.wait()
                if time.monotonic() - ready_at_s > self._timing.healthy_after_s:
                    pause_s = self._timing.first_backoff_s
            await self._kill(process)
            self._change(state="restarting", num_restarts=self.state.num_restarts + 1)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, self._timing.max_backoff_s)

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL when it takes longer than the grace."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), self._timing.stop_grace_s)
            except TimeoutError:
                await self._kill(self._process)
        self._ready_file.unlink(missing_ok=True)
        self._change(state="stopped")

    def last_log_lines(self, count: int = 15) -> str:
        """The end of the service's log."""
        with suppress(FileNotFoundError), Path(self.state.log).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
        return ""

    async def _start(self, ports: Mapping[str, int]) -> asyncio.subprocess.Process:
        self._ready_file.unlink(missing_ok=True)
        environ = self._environ | dict(self.spec.environment(ports))
        environ[self.spec.listen_variable] = f"127.0.0.1:{self.state.port}"
        environ[self.spec.ready_file_variable] = str(self._ready_file)
        with _open_log(Path(self.state.log)) as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-S",
                _TETHER,
                str(os.getpid()),
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                # Its own session: Ctrl-C in the terminal reaches the supervisor alone, which then stops in order.
                start_new_session=True,
            )
        identity = ProcessIdentity.of(self._process.pid)
        self._change(
            state="starting" if not self.ready.is_set() else "restarting",
            pid=self._process.pid,
            start_mark=identity.start_mark if identity else "",
            start_time=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return self._process

    async def _until_ready_or_gone(self, process: asyncio.subprocess.Process) -> float | None:
        ends_at_s = time.monotonic() + self._timing.start_timeout_s
        while process.returncode is None and time.monotonic() < ends_at_s:
            port = self._port_of(process)
            if port and await self._is_serving(port):
                self._change(port=port)
                return time.monotonic()
            await asyncio.sleep(self._timing.poll_s)
        return None

    def _port_of(self, process: asyncio.subprocess.Process) -> int:
        with suppress(FileNotFoundError):
            document = json.loads(self._ready_file.read_bytes())
            if document["pid"] == process.pid:
                return int(document["port"])
        return 0

    def _why_not_ready(self, process: asyncio.subprocess.Process) -> str:
        ended = process.returncode
        how = f"ended with {ended}" if ended is not None else f"was not ready after {self._timing.start_timeout_s:g} s"
        return f"{self.spec.name} {how}; the end of {self.state.log}:\n{self.last_log_lines()}"

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _change(self, **values: str | int) -> None:
        for name, value in values.items():
            setattr(self.state, name, value)
        self._on_change()


def _open_log(path: Path) -> BinaryIO:
    """The log, to append to; a long one is put aside first, so that at most two of the size exist."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > _MAX_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
