# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Jobs as processes of this machine: the port JobRunner.

    start: recipe, token -> files; spawn job_process in its own session -> it claims the job -> it becomes the trainer
    adopt: process.json -> the process of that name, if it still is one
    wait:  pidfd readable -> kill what is left of the group -> reap -> result.json, exit, last lines of the log

The same code follows a child and a process that an earlier launcher started; only the exit code of the latter is
unknown. Nothing is ever signalled by its number alone (process_identity.py). What a job leaves running when its first
process ends is killed at once: the grace is the first process's.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dragoman_common.atomic import write_atomic
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.job_folder import JobFolder
from dragoman_launcher.job_log import log_bytes, log_tail, read_log
from dragoman_launcher.job_process import LOST_RACE, read_claim, write_claim
from dragoman_launcher.outcome import Outcome
from dragoman_launcher.ports import JobStartError
from dragoman_launcher.process_identity import ProcessName, name_of, open_process, signal_group
from dragoman_launcher.result_file import read_result
from dragoman_launcher.trainer_environment import Places, job_environment, mark

KILL_WAIT_S: Final = 10.0
"""How long the kernel may take to end what was killed (a process that waits for a broken disk cannot die)."""

_UNSEEN: Final = "its process had gone when the launcher looked for it, so its exit code is unknown"

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Process:
    """A job's first process, while it runs and after."""

    name: ProcessName | None
    descriptor: int | None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: Outcome | None = None
    collecting: asyncio.Lock = field(default_factory=asyncio.Lock)


class ProcessJobRunner:
    """Runs jobs here.

    Args:
        jobs_dir: where the jobs' folders are.
        command: what a job's process becomes; it learns everything from its environment.
        places: where the job finds the platform, asked at each start.
        token: mints the job's credential.
        environ: the launcher's environment, of which a job gets the allowed part.
    """

    def __init__(
        self,
        *,
        jobs_dir: Path,
        command: Sequence[str],
        places: Callable[[], Places],
        token: Callable[[TrainingJob], str],
        environ: Mapping[str, str],
    ) -> None:
        self._jobs_dir = jobs_dir
        self._command = tuple(command)
        self._places = places
        self._token = token
        self._environ = dict(environ)
        self._processes: dict[str, _Process] = {}
        # Who runs a job is settled by one call at a time: a stop that meets a start waits for its process.
        self._settling: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def start(self, job: TrainingJob) -> None:
        async with self._settling[job.id]:
            if job.id in self._processes:
                return
            try:
                name, descriptor = await asyncio.to_thread(self._spawn, job)
            except OSError as error:
                raise JobStartError(f"its files or its process cannot be made ({error.strerror or error})") from error
            self._follow(job.id, name, descriptor)

    async def adopt(self, job_id: str) -> bool:
        async with self._settling[job_id]:
            return job_id in self._processes or await self._take_over(job_id)

    async def wait(self, job_id: str) -> Outcome:
        while True:
            process = self._processes[job_id]
            await process.ended.wait()
            outcome = await self._collected(job_id, process)
            if outcome is not None:
                return outcome

    async def stop(self, job_id: str, grace_s: float) -> None:
        async with self._settling[job_id]:
            if job_id not in self._processes and not await self._refuse_start(job_id):
                await self._take_over(job_id)
        while job_id in self._processes and self._processes[job_id].outcome is None:
            process = self._processes[job_id]
            await self._end(job_id, process, grace_s)
            if not process.ended.is_set():
                logger.error("job cannot be killed", extra={"job": job_id})
                return
            # The one that ended may have been the loser of a race: then there is another one to stop.
            await self._collected(job_id, process)

    def waits_for(self, job_id: str) -> str:  # noqa: ARG002  the port's signature
        """Nothing: a process runs from its start."""
        return ""

    async def log_bytes(self, job_id: str) -> int:
        return await asyncio.to_thread(log_bytes, self._folder(job_id).log)

    async def read_log(self, job_id: str, offset_bytes: int, max_bytes: int) -> bytes:
        return await asyncio.to_thread(read_log, self._folder(job_id).log, offset_bytes, max_bytes)

    def close(self) -> None:
        """Stop following; what runs goes on."""
        for process in self._processes.values():
            self._let_go(process)
        self._processes.clear()

    def _folder(self, job_id: str) -> JobFolder:
        return JobFolder.of(self._jobs_dir, job_id)

    def _spawn(self, job: TrainingJob) -> tuple[ProcessName, int]:
        folder = self._folder(job.id)
        folder.make(folder.run, folder.output)
        write_atomic(folder.recipe, job.spec.effective_recipe.encode())
        write_atomic(folder.token, self._token(job).encode())
        arguments = [
            sys.executable,
            "-P",
            "-m",
            "dragoman_launcher.job_process",
            str(folder.process),
            str(folder.output),
            *self._command,
        ]
        # posix_spawn runs nothing of ours between fork and exec, so gRPC's threads cannot be caught holding a lock.
        pid = os.posix_spawn(
            sys.executable,
            arguments,
            job_environment(job, folder, self._places(), self._environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE],
        )
        # A child that has not been waited for keeps its pid, so its name cannot be another's here.
        name = name_of(pid)
        if name is None:
            raise ProcessLookupError("the process was gone at once")
        return name, os.pidfd_open(pid)

    def _follow(self, job_id: str, name: ProcessName | None, descriptor: int | None) -> None:
        process = _Process(name=name, descriptor=descriptor)
        self._processes[job_id] = process
        if descriptor is None:
            process.ended.set()
            return
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(descriptor)
            process.ended.set()

        loop.add_reader(descriptor, ended)

    async def _take_over(self, job_id: str) -> bool:
        """Follow the process that claimed the job; False when none did."""
        try:
            is_settled, name = await asyncio.to_thread(read_claim, self._folder(job_id).process)
        except ValueError as error:
            # Somebody ran it, and nobody can say who: it must not run again.
            logger.error("process file does not read", extra={"job": job_id, "reason": str(error)})  # noqa: TRY400
            is_settled, name = True, None
        if is_settled:
            self._follow(job_id, name, None if name is None else open_process(name))
        return is_settled

    async def _refuse_start(self, job_id: str) -> bool:
        folder = self._folder(job_id)
        try:
            await asyncio.to_thread(folder.make, folder.run)
            await asyncio.to_thread(write_claim, folder.process, None)
        except FileExistsError:
            return False
        except OSError as error:
            # Nothing was started; at worst a killed launcher's start, still under way, is not refused.
            logger.warning("start not refused", extra={"job": job_id, "reason": str(error)})
        return True

    async def _end(self, job_id: str, process: _Process, grace_s: float) -> None:
        if process.name is None:
            return
        for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_WAIT_S)):
            if process.ended.is_set():
                return
            await asyncio.to_thread(signal_group, process.name, mark(job_id), number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await process.ended.wait()

    async def _collected(self, job_id: str, process: _Process) -> Outcome | None:
        async with process.collecting:
            if process.outcome is None and self._processes[job_id] is process:
                # To the end, whoever gives up waiting: a process is reaped once and its outcome read after that.
                process.outcome = await asyncio.shield(asyncio.ensure_future(self._collect(job_id, process)))
            return process.outcome

    async def _collect(self, job_id: str, process: _Process) -> Outcome | None:
        """Put an ended process away; None when it was the loser of a race, and the winner is followed now."""
        name, descriptor = process.name, process.descriptor
        if name is not None:
            await asyncio.to_thread(_kill_group, name, mark(job_id))
        code = None if descriptor is None else _reaped(descriptor)
        self._let_go(process)
        if code == LOST_RACE and await self._take_over(job_id):
            return None
        return await asyncio.to_thread(self._outcome, job_id, code)

    def _outcome(self, job_id: str, code: int | None) -> Outcome:
        folder = self._folder(job_id)
        folder.token.unlink(missing_ok=True)
        return Outcome(result=read_result(folder.result), exit=_said(code), log_tail=log_tail(folder.log))

    def _let_go(self, process: _Process) -> None:
        if process.descriptor is None:
            return
        asyncio.get_running_loop().remove_reader(process.descriptor)
        os.close(process.descriptor)
        process.descriptor = None


def _kill_group(leader: ProcessName, job_mark: bytes) -> None:
    deadline_s = time.monotonic() + KILL_WAIT_S
    # Again until none is left: a process may have forked between the look and the kill.
    while signal_group(leader, job_mark, signal.SIGKILL):
        if time.monotonic() > deadline_s:
            logger.error("processes of a job cannot be killed", extra={"group": leader.pid})
            return
        time.sleep(0.01)


def _reaped(descriptor: int) -> int | None:
    """The exit code, negative for a signal; None when it was no child of ours."""
    try:
        result = os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def _said(code: int | None) -> str:
    if code is None:
        return _UNSEEN
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
