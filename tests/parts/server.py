# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A part that serves, wherever it runs (hosts.py): started, waited for, killed, paused. Each says how it answers."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.parts.hosts import Host
from tests.parts.missing import MissingPartError

ATTEMPTS = 3
SAID_CHARS = 400


class Server:
    """One server. Killing and starting it again keeps its address and data.

    Args:
        host: Where it runs; None where the environment names one, which is never started or killed.
        name: For messages: what it is and where.
        start_s: The longest that it may take to answer.
    """

    def __init__(self, host: Host | None, *, name: str, start_s: float) -> None:
        self._host, self._name, self._start_s = host, name, start_s

    @property
    def can_be_killed(self) -> bool:
        return self._host is not None

    def start(self) -> None:
        """Start it and wait until it serves.

        Raises:
            MissingPartError: it ended, or did not serve in time; with what it said.
        """
        self._own().start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it answers, in its own protocol.

        Raises:
            MissingPartError: it ended, or did not answer in time; with what it said.
        """
        ends_s = time.monotonic() + self._start_s
        while not self._answers():
            if (self._host and not self._host.is_alive()) or time.monotonic() > ends_s:
                said = gist(self._host.said()) if self._host else ""
                raise MissingPartError(f"no {self._name} came up: {said}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL to every process of it, and wait until they are gone."""
        self._own().kill()

    def stop(self) -> None:
        """Let it shut down by itself."""
        self._own().stop()

    def restart(self) -> None:
        """Kill it if it lives, and start it on the same port and data."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, and nothing answers."""
        self._own().pause()

    def resume(self) -> None:
        """SIGCONT"""
        self._own().resume()

    def _own(self) -> Host:
        if self._host is None:
            raise MissingPartError(f"the {self._name} is not ours to start or kill")
        return self._host

    def _answers(self) -> bool:
        raise NotImplementedError


S = TypeVar("S", bound=Server)


def started(make: Callable[[], tuple[S, Host]]) -> tuple[S, Host]:
    """Start what make returns. None can be given port 0, so where another process has taken the free port meanwhile the
    server has ended, and make is asked for another.

    Raises:
        MissingPartError: it did not come up.
    """
    for attempt in range(1, ATTEMPTS + 1):
        server, host = make()
        try:
            server.start()
        except MissingPartError:
            ended = not host.is_alive()
            host.remove()
            if not ended or attempt == ATTEMPTS:
                raise
        else:
            return server, host
    raise AssertionError


def gist(said: str) -> str:
    """The end of it, without the lines of stack traces."""
    lines = [line for line in said.splitlines() if not line.lstrip().startswith(("at ", "... "))]
    return " ".join(" ".join(lines).split())[-SAID_CHARS:]
