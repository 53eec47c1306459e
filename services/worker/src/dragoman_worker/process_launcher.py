# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Starts model processes, and keeps one in reserve.

Owns the child's command line, environment and socket pair, and the spare: a process that has imported the libraries of
the architectures that need torch, which takes seconds, and waits for its load request. It is taken when such a model's
process has died, so that serving again takes as long as reading the weights; the next spare is then started behind it.

    launch -> spare, or socket pair -> child -> ProcessRunner.load
"""

import asyncio
import socket
import sys
from collections.abc import Mapping, Sequence

from dragoman_worker.model_process import TORCH_ARCHITECTURE
from dragoman_worker.ports import ModelFiles, RunnerEndedError
from dragoman_worker.process_runner import ProcessRunner

COMMAND = (sys.executable, "-m", "dragoman_worker.model_process")
SPARE_PAUSE_S = 1.0
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
        keep_spare: bool = True,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Say how.

        Args:
            environment: The whole environment of the children.
            num_threads: Compute threads of each.
            load_timeout_s: A child that has not loaded and warmed up by then is ended.
            keep_spare: See the module's docstring; costs the memory of an idle interpreter with its libraries.
            command: What to run; the socket's descriptor is added as an argument.
        """
        self._environment = dict(environment)
        self._num_threads = num_threads
        self._load_timeout_s = load_timeout_s
        self._command = tuple(command)
        self._keep_spare = keep_spare
        self._spare: ProcessRunner | None = None
        self._refilling: asyncio.Task[None] | None = None

    async def launch(self, files: ModelFiles) -> ProcessRunner:
        """See ports.ModelLauncher."""
        needs_torch = files.architecture == TORCH_ARCHITECTURE
        spare = self._take_spare() if needs_torch else None
        runner = spare if spare is not None and not spare.has_ended else await self._spawn()
        try:
            async with asyncio.timeout(self._load_timeout_s):
                await runner.load(files, self._num_threads)
        except TimeoutError:
            await runner.close()
            raise RunnerEndedError(f"did not load within {self._load_timeout_s:.0f} s", is_own_doing=True) from None
        except BaseException:
            await runner.close()
            raise
        finally:
            if needs_torch and self._keep_spare:
                # Only now, so that the spare does not take the cores from the process that is waited for.
                self._refill()
        return runner

    async def close(self) -> None:
        """End the spare. Runners that were launched are their owners'."""
        self._keep_spare = False
        if self._refilling is not None:
            self._refilling.cancel()
            await asyncio.gather(self._refilling, return_exceptions=True)
        if self._spare is not None:
            await self._spare.close()

    def _take_spare(self) -> ProcessRunner | None:
        if self._spare is None:
            # One that is being started stays with its task.
            return None
        spare, self._spare = self._spare, None
        if self._refilling is not None:
            self._refilling.cancel()
            self._refilling = None
        return spare

    def _refill(self) -> None:
        if self._refilling is None:
            self._refilling = asyncio.create_task(self._hold_spare(), name="hold a spare model process")

    async def _hold_spare(self) -> None:
        """Have a spare until it is taken; one that ends is replaced, with a pause."""
        while True:
            self._spare = await self._spawn(TORCH_ARCHITECTURE)
            await self._spare.wait_ended()
            self._spare = None
            await asyncio.sleep(SPARE_PAUSE_S)

    async def _spawn(self, *arguments: str) -> ProcessRunner:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    str(theirs.fileno()),
                    *arguments,
                    pass_fds=(theirs.fileno(),),
                    env=self._environment,
                    stdin=asyncio.subprocess.DEVNULL,
                )
            except BaseException:
                ours.close()
                raise
        reader, writer = await asyncio.open_connection(sock=ours)
        return ProcessRunner(process, reader, writer)
