# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where a part runs: as a process of ours, or in a container. Both are started, paused and killed in the same way."""

import atexit
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tests.parts.leash import Leash
from tests.parts.missing import MissingPartError

DOCKER_SOCKET = "/var/run/docker.sock"
STOP_S = 60
# What /proc says of a process that has ended; the first is one that nobody has waited for yet.
GONE = ("Z", "X", "")


class Host(Protocol):
    def start(self) -> None: ...

    def is_alive(self) -> bool: ...

    def kill(self) -> None: ...

    def stop(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def said(self) -> str: ...

    def remove(self) -> None: ...


class Process:
    """A process of ours and its children: a signal goes to them all, so that none serves on when it is killed.

    It does not outlive us, even if we are killed.
    Its output is appended to log; it sees no variable of ours but PATH and those in environ.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        environ: Mapping[str, str],
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._command, self._log = command, log
        self._environ, self._stop_signal = environ, stop_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: Leash | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={"PATH": os.environ["PATH"], **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._let_go()
        self._leash = Leash(self._process.pid)

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. It has no effect on one that is gone already."""
        children = self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        _wait_for(children)
        self._let_go()

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self._process is not None:
            self._process.send_signal(self._stop_signal)
            self._process.wait(timeout=STOP_S)
        self._let_go()

    def pause(self) -> None:
        """SIGSTOP, and wait until it has reached them all."""
        _wait_for(self._signal(signal.SIGSTOP), "T")

    def resume(self) -> None:
        """SIGCONT"""
        self._signal(signal.SIGCONT)

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def remove(self) -> None:
        self.kill()

    def _let_go(self) -> None:
        if self._leash is not None:
            self._leash.let_go()
            self._leash = None

    def _signal(self, number: signal.Signals) -> list[int]:
        """Signal the children, then the process; return the children."""
        if not self.is_alive():
            return []
        # Stopped first, it makes no more children, sees none of them die, and is still there to say who they are.
        self._process.send_signal(signal.SIGSTOP)
        _wait_for([self.pid], "T")
        children = _children(self.pid)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, number)
        self._process.send_signal(number)
        return children


class Container:
    """A container, on a fixed loopback port of the machine so that a restart keeps the address. Its data is its own."""

    def __init__(
        self, image: str, *, port: int, host_port: int, environ: Mapping[str, str], command: str | None = None
    ) -> None:
        self._image, self._port, self._host_port = image, port, host_port
        self._environ, self._command = environ, command
        self._container = None

    def start(self) -> None:
        from docker.errors import DockerException
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.container import DockerContainer

        # Its reaper is one more image to pull; remove() does what is needed, at the latest when we end.
        testcontainers_config.ryuk_disabled = True
        try:
            if self._container is not None:
                self._wrapped().start()
                return
            container = DockerContainer(self._image)
            # with_bind_ports takes no address, and would listen on every one.
            container.ports[f"{self._port}/tcp"] = ("127.0.0.1", self._host_port)
            container.with_envs(**self._environ)
            if self._command:
                container.with_command(self._command)
            self._container = container
            atexit.register(self.remove)
            container.start()
        except DockerException as error:
            self.remove()
            raise MissingPartError(f"the image {self._image} does not start: {error}") from error

    def is_alive(self) -> bool:
        if self._container is None:
            return False
        wrapped = self._wrapped()
        wrapped.reload()
        return wrapped.status in ("created", "running", "paused")

    def kill(self) -> None:
        if self.is_alive():
            if self._wrapped().status == "paused":
                self.resume()
            self._wrapped().kill(signal="SIGKILL")
            self._wrapped().wait()

    def stop(self) -> None:
        self._wrapped().stop(timeout=STOP_S)

    def pause(self) -> None:
        self._wrapped().pause()

    def resume(self) -> None:
        self._wrapped().unpause()

    def said(self) -> str:
        return "" if self._container is None else b"".join(self._container.get_logs()).decode(errors="replace")

    def remove(self) -> None:
        """Remove it with its data. It has no effect the second time."""
        if self._container is not None:
            container, self._container = self._container, None
            atexit.unregister(self.remove)
            container.stop()

    def _wrapped(self):
        return self._container.get_wrapped_container()


def image(name: str) -> str | None:
    """Return the name if a Docker engine is there and has an image of that name or can pull it.

    DRAGOMAN_TEST_PARTS=process looks for none. DRAGOMAN_TEST_PARTS=container takes nothing else:

    Raises:
        MissingPartError: nothing else may be taken, and there is none.
    """
    wanted = os.environ.get("DRAGOMAN_TEST_PARTS", "")
    if wanted not in ("", "process", "container"):
        raise MissingPartError(f"DRAGOMAN_TEST_PARTS is {wanted!r}: it may be process or container, or not be set")
    found = None if wanted == "process" else _found(name)
    if wanted == "container" and found is None:
        raise MissingPartError(f"no Docker engine answers that has the image {name}: make test-images builds it")
    return found


def _found(name: str) -> str | None:
    scheme, _, path = os.environ.get("DOCKER_HOST", f"unix://{DOCKER_SOCKET}").partition("://")
    if scheme == "unix" and not _listens(path):
        # The client itself leaves a socket open when nobody answers there.
        return None
    import docker
    import docker.errors

    try:
        engine = docker.from_env(timeout=10)
    except docker.errors.DockerException:
        return None
    try:
        engine.images.get(name)
    except docker.errors.ImageNotFound:
        if name.startswith("localhost/"):
            return None
        try:
            engine.images.pull(name)
        except docker.errors.APIError:
            return None
    except docker.errors.DockerException:
        return None
    finally:
        engine.close()
    return name


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _wait_for(pids: Sequence[int], *states: str) -> None:
    """Wait until each of them is in one of the states, or gone."""
    while any(_state(pid) not in (*states, *GONE) for pid in pids):
        time.sleep(0.001)


def _state(pid: int) -> str:
    """Return the letter that ps prints, or "" of a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
