# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Model processes from the fork server: each its own, told apart in their ends, and gone with the server."""

import asyncio
import errno
import os
import signal
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from dragoman_worker.exit_status import ExitStatus
from dragoman_worker.ports import ModelFiles, RunnerEndedError

FILES = ModelFiles(folder=Path("/"), sha256_by_path={}, architecture="rnn")
ROW = np.array([1, 2], dtype=np.int32)
CRASH = np.array([1002], dtype=np.int32)
WAIT = np.array([1001, 60_000], dtype=np.int32)


def is_alive(pid):
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until_gone(pid):
    """The server's socket closes just before the kernel signals its children."""
    async with asyncio.timeout(10):
        while is_alive(pid):  # noqa: ASYNC110 - the kernel tells nobody but its parent
            await asyncio.sleep(0.01)


@pytest.fixture
async def runners(launcher):
    yield launcher.runners
    for runner in launcher.runners:
        await runner.close()
    await launcher.close()


async def test_processes_of_one_fork_server_answer_for_themselves(launcher, runners):
    first, second = await asyncio.gather(launcher.launch(FILES), launcher.launch(FILES))
    assert first.pid != second.pid
    for runner in (first, second):
        assert (await runner.score([ROW])).tolist() == [[3, 2]]
        assert int((Path("/proc") / str(runner.pid) / "stat").read_text().rpartition(")")[2].split()[1]) != os.getpid()


async def test_end_of_one_process_leaves_its_sibling_and_is_told_by_signal(launcher, runners):
    first, second = await launcher.launch(FILES), await launcher.launch(FILES)
    os.kill(first.pid, signal.SIGKILL)
    ended = await first.wait_ended()
    assert (ended.reason, ended.is_own_doing) == ("SIGKILL", False)
    with pytest.raises(RunnerEndedError) as crashed:
        await second.score([CRASH])
    assert (crashed.value.reason, crashed.value.is_own_doing) == ("SIGSEGV", True)
    third = await launcher.launch(FILES)
    assert (await third.score([ROW])).tolist() == [[3, 2]]


async def test_closing_a_runner_ends_a_process_that_computes(launcher, runners):
    runner = await launcher.launch(FILES)
    scoring = asyncio.create_task(runner.score([WAIT]))
    await asyncio.sleep(0)
    await runner.close()
    with pytest.raises(RunnerEndedError):
        await scoring
    assert not is_alive(runner.pid)


async def test_killed_fork_server_takes_its_processes_along_and_is_started_again(launcher, runners):
    runner = await launcher.launch(FILES)
    os.kill(launcher._fork_server._server.pid, signal.SIGKILL)
    await runner.wait_ended()
    await until_gone(runner.pid)
    second = await launcher.launch(FILES)
    assert (await second.score([ROW])).tolist() == [[3, 2]]


async def test_close_leaves_no_process(launcher, runners):
    runner = await launcher.launch(FILES)
    server = launcher._fork_server._server
    await runner.close()
    await launcher.close()
    assert not is_alive(runner.pid)
    assert server.returncode == -signal.SIGKILL


async def test_models_without_torch_need_no_fork_server(launcher, runners):
    await launcher.launch(ModelFiles(folder=Path("/"), sha256_by_path={}, architecture="linear"))
    assert launcher._fork_server is None


def failing(times, error, then):
    """A function that fails so many times before it does what `then` does."""
    left = [error] * times

    def call(*arguments, **named):
        if left:
            raise left.pop()
        return then(*arguments, **named)

    return call


NO_MEMORY = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
NO_ROOM = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
LINEAR = ModelFiles(folder=Path("/"), sha256_by_path={}, architecture="linear")


@pytest.mark.parametrize("files", [LINEAR, FILES])
async def test_process_that_the_kernel_refuses_is_a_failed_start_and_the_next_one_works(
    launcher, runners, monkeypatch, files
):
    monkeypatch.setattr(asyncio, "create_subprocess_exec", failing(1, NO_MEMORY, asyncio.create_subprocess_exec))
    with pytest.raises(RunnerEndedError, match="Cannot allocate memory") as refused:
        await launcher.launch(files)
    assert refused.value.is_own_doing
    assert (await (await launcher.launch(files)).score([ROW])).tolist() == [[3, 2]]


async def test_fork_server_that_takes_no_message_is_a_failed_start(launcher, runners, monkeypatch):
    await launcher.launch(FILES)
    monkeypatch.setattr(socket, "send_fds", failing(1, NO_ROOM, socket.send_fds))
    with pytest.raises(RunnerEndedError, match="temporarily unavailable"):
        await launcher.launch(FILES)
    assert (await (await launcher.launch(FILES)).score([ROW])).tolist() == [[3, 2]]


async def test_fork_that_fails_leaves_the_other_models_running(launcher, runners):
    launcher._environment["STUB_FAILING_FORK"] = "2"
    first = await launcher.launch(FILES)
    with pytest.raises(RunnerEndedError, match="could not be forked: Resource temporarily unavailable"):
        await launcher.launch(FILES)
    assert (await first.score([ROW])).tolist() == [[3, 2]]
    assert (await (await launcher.launch(FILES)).score([ROW])).tolist() == [[3, 2]]


async def test_process_is_ended_even_when_the_fork_server_takes_no_message(launcher, runners):
    runner = await launcher.launch(FILES)
    server = launcher._fork_server._server
    launcher._fork_server._control.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(10):
        await runner.close()
        await server.wait()
    await until_gone(runner.pid)


async def test_fork_server_that_cannot_import_is_a_start_that_fails_by_itself(launcher, runners):
    launcher._fork_server_command = (sys.executable, "-c", "raise SystemExit(3)")
    with pytest.raises(RunnerEndedError, match="exit status 3") as ended:
        await launcher.launch(FILES)
    assert ended.value.is_own_doing


@pytest.mark.parametrize("number", [signal.SIGRTMIN, signal.SIGRTMIN + 3, signal.SIGRTMAX])
async def test_end_by_a_real_time_signal_is_told(launcher, runners, number):
    runner = await launcher.launch(LINEAR)
    os.kill(runner.pid, number)
    async with asyncio.timeout(10):
        ended = await runner.wait_ended()
    assert (ended.reason, ended.is_own_doing) == (ExitStatus(-number).reason, False)
