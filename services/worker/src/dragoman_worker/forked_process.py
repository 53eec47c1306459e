# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The front's end of the fork server: ask for a process, hear of its end, have it killed.

fork -> START + descriptor -> STARTED pid -> ForkedProcess ... ENDED pid status -> returncode
"""

import asyncio
import logging
import signal
import socket
from collections import deque
from collections.abc import Mapping, Sequence

from dragoman_worker.fork_server import ENDED, KILL, MESSAGE, START, STARTED
from dragoman_worker.ports import RunnerEndedError

logger = logging.getLogger(__name__)


class ForkedProcess:
    """A child of the fork server, with the methods of asyncio's own Process that a runner uses."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self._control = control
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    def kill(self) -> None:
        """SIGKILL it; nothing happens to one that has ended."""
        if not self._ended.done():
            self._control.send(MESSAGE.pack(KILL, self.pid, 0))

    async def wait(self) -> int:
        """Wait for its end and return the exit status."""
        return await asyncio.shield(self._ended)

    def end(self, status: int) -> None:
        """It has ended."""
        if not self._ended.done():
            self._ended.set_result(status)


class ForkServer:
    """One running fork server. Start it before use; one that has ended is of no further use."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Say how it is started; the control socket's descriptor is added to the command."""
        self._command = tuple(command)
        self._environment = dict(environment)
        self._server: asyncio.subprocess.Process | None = None
        self._asked: deque[asyncio.Future[ForkedProcess]] = deque()
        self._children: dict[int, ForkedProcess] = {}
        self.has_ended = False

    async def start(self) -> None:
        """Start it. The first fork waits until it has imported its libraries."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        with theirs:
            self._server = await asyncio.create_subprocess_exec(
                *self._command,
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
            )
        asyncio.get_running_loop().add_reader(self._control, self._read)

    async def fork(self, theirs: socket.socket) -> ForkedProcess:
        """Start a process that holds `theirs`.

        Raises:
            RunnerEndedError: the fork server has ended.
        """
        if self.has_ended:
            raise RunnerEndedError("the fork server has ended", is_own_doing=False)
        answer: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        # Answers come in the order of the requests.
        self._asked.append(answer)
        socket.send_fds(self._control, [MESSAGE.pack(START, 0, 0)], [theirs.fileno()])
        return await answer

    async def close(self) -> None:
        """End it and, with it, every process that it has started."""
        if self._server is not None and self._server.returncode is None:
            self._server.kill()
            await self._server.wait()
        self._finish()

    def _read(self) -> None:
        try:
            data = self._control.recv(MESSAGE.size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._finish()
            return
        kind, pid, status = MESSAGE.unpack(data)
        if kind == STARTED:
            process = self._children[pid] = ForkedProcess(pid, self._control)
            answer = self._asked.popleft()
            if answer.cancelled():
                process.kill()
            else:
                answer.set_result(process)
        elif kind == ENDED:
            self._children.pop(pid).end(status)

    def _finish(self) -> None:
        """It is gone, and the kernel has ended its children with it."""
        if self.has_ended:
            return
        self.has_ended = True
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        for process in self._children.values():
            process.end(-signal.SIGKILL)
        self._children.clear()
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(RunnerEndedError("the fork server ended", is_own_doing=False))
        self._asked.clear()
        logger.info("fork server ended")
