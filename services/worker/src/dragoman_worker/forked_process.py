# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The front's end of the fork server: ask for a process, hear of its end, have it killed.

fork -> START + descriptor -> STARTED pid -> ForkedProcess ... ENDED pid status -> returncode
                           -> FAILED errno -> RunnerEndedError
"""

import asyncio
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from dragoman_worker.exit_status import ExitStatus
from dragoman_worker.fork_server import ENDED, FAILED, KILL, MESSAGE, START, STARTED
from dragoman_worker.ports import RunnerEndedError

logger = logging.getLogger(__name__)


class ForkedProcess:
    """A child of the fork server, with the methods of asyncio's own Process that a runner uses."""

    def __init__(self, pid: int, kill: Callable[[int], None]) -> None:
        self.pid = pid
        self._kill = kill
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    def kill(self) -> None:
        """SIGKILL it; nothing happens to one that has ended."""
        if not self._ended.done():
            self._kill(self.pid)

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
        """Start it. The first fork waits until it has imported its libraries.

        Raises:
            OSError: no process, no memory or no descriptor was left.
        """
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        try:
            with theirs:
                self._server = await asyncio.create_subprocess_exec(
                    *self._command,
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    env=self._environment,
                    stdin=asyncio.subprocess.DEVNULL,
                )
        except BaseException:
            self._control.close()
            raise
        asyncio.get_running_loop().add_reader(self._control, self._read)

    async def fork(self, theirs: socket.socket) -> ForkedProcess:
        """Start a process that holds `theirs`.

        Raises:
            RunnerEndedError: the fork server has ended, or could not fork.
            OSError: it could not be asked.
        """
        if self.has_ended:
            raise RunnerEndedError("the fork server has ended", is_own_doing=False)
        answer: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        socket.send_fds(self._control, [MESSAGE.pack(START, 0, 0)], [theirs.fileno()])
        # Answers come in the order of the requests.
        self._asked.append(answer)
        try:
            return await answer
        except RunnerEndedError:
            if self.has_ended:
                raise await self._end() from None
            raise

    async def close(self) -> None:
        """End it and, with it, every process that it has started."""
        if self._server is not None and self._server.returncode is None:
            self._server.kill()
            await self._server.wait()
        self._finish()

    async def _end(self) -> RunnerEndedError:
        """How it ended: one that fails by itself, at an import for example, will fail again."""
        try:
            async with asyncio.timeout(1.0):
                how = ExitStatus(0 if self._server is None else await self._server.wait())
        except TimeoutError:
            return RunnerEndedError("the fork server closed its socket", is_own_doing=False)
        return RunnerEndedError(f"the fork server ended ({how.reason})", is_own_doing=how.is_own_doing)

    def _kill(self, pid: int) -> None:
        try:
            self._control.send(MESSAGE.pack(KILL, pid, 0))
        except OSError:
            # It takes no message, so it hangs, and no process of it could be ended any more: end all of them.
            logger.exception("fork server takes no message, ending it")
            if self._server is not None and self._server.returncode is None:
                self._server.kill()

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
            process = self._children[pid] = ForkedProcess(pid, self._kill)
            answer = self._asked.popleft()
            if answer.cancelled():
                process.kill()
            else:
                answer.set_result(process)
        elif kind == FAILED:
            answer = self._asked.popleft()
            if not answer.cancelled():
                answer.set_exception(RunnerEndedError(f"could not be forked: {os.strerror(status)}", is_own_doing=True))
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
