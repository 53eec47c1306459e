# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Starts model processes: from the fork server where they need torch, else by a command.

    launch -> socket pair -> forked or spawned child -> ProcessRunner.load

The fork server is started with the first model that needs it, and again when it has ended; see fork_server.py.
"""

import asyncio
import socket
import sys
from collections.abc import Mapping, Sequence

from dragoman_models.device import AUTO
from dragoman_worker.forked_process import ForkedProcess, ForkServer
from dragoman_worker.model_process import TORCH_ARCHITECTURES
from dragoman_worker.ports import ModelFiles, RunnerEndedError
from dragoman_worker.process_runner import ProcessRunner

COMMAND = (sys.executable, "-m", "dragoman_worker.model_process")
FORK_SERVER_COMMAND = (sys.executable, "-m", "dragoman_worker.fork_server")
# What a model process may see of the front's environment: no key, no token, no setting of ours.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "CUDA_VISIBLE_DEVICES")


def child_environment(environ: Mapping[str, str], num_threads: int) -> dict[str, str]:
    """Return a model process's environment: what it needs of ours, and its number of compute threads."""
    passed = {name: environ[name] for name in _PASSED_ON if name in environ}
    # Read by the numeric libraries when they load; there is no other moment at which all of them listen.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(num_threads))
    return passed | threads


class ProcessLauncher:
    """Starts model processes. Implements ports.ModelLauncher."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        num_threads: int,
        load_timeout_s: float,
        device: str = AUTO,
        command: Sequence[str] = COMMAND,
        fork_server_command: Sequence[str] = FORK_SERVER_COMMAND,
    ) -> None:
        """Say how.

        Args:
            environment: The whole environment of the children.
            num_threads: Compute threads of each.
            load_timeout_s: A child that has not loaded and warmed up by then is ended.
            device: What they compute on, one of dragoman_models.device.CHOICES. The choice is theirs to make: this
                process has no torch.
            command: Starts a model process; the device and the descriptor of its socket are added.
            fork_server_command: Starts the fork server; the device and the descriptor of its control socket are added.
        """
        self._environment = dict(environment)
        self._num_threads = num_threads
        self._load_timeout_s = load_timeout_s
        self._command = (*command, device)
        self._fork_server_command = (*fork_server_command, device)
        self._fork_server: ForkServer | None = None
        self._starting = asyncio.Lock()

    async def launch(self, files: ModelFiles) -> ProcessRunner:
        """See ports.ModelLauncher."""
        runner = None
        try:
            async with asyncio.timeout(self._load_timeout_s):
                runner = await self._start(needs_torch=files.architecture in TORCH_ARCHITECTURES)
                await runner.load(files, self._num_threads)
        except TimeoutError:
            if runner is not None:
                await runner.close()
            raise RunnerEndedError(f"did not load within {self._load_timeout_s:.0f} s", is_own_doing=True) from None
        except OSError as error:
            # No memory, no process or no descriptor left: it counts as a start that failed, and is tried again.
            if runner is not None:
                await runner.close()
            raise RunnerEndedError(f"could not be started: {error}", is_own_doing=True) from error
        except BaseException:
            if runner is not None:
                await runner.close()
            raise
        return runner

    async def close(self) -> None:
        """End the fork server, and what it has started. Other runners are their owners'."""
        if self._fork_server is not None:
            await self._fork_server.close()

    async def _start(self, *, needs_torch: bool) -> ProcessRunner:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                process = await (self._fork(theirs) if needs_torch else self._spawn(theirs))
        except BaseException:
            ours.close()
            raise
        reader, writer = await asyncio.open_connection(sock=ours)
        return ProcessRunner(process, reader, writer)

    async def _fork(self, theirs: socket.socket) -> ForkedProcess:
        async with self._starting:
            if self._fork_server is None or self._fork_server.has_ended:
                server = ForkServer(self._fork_server_command, self._environment)
                await server.start()
                # Only now: one that could not be started must not be asked for processes.
                self._fork_server = server
            server = self._fork_server
        return await server.fork(theirs)

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            str(theirs.fileno()),
            pass_fds=(theirs.fileno(),),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
        )
