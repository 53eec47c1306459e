# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Starts that fail: what a process that does not come up is reported as, and that it is not given up in silence."""

import asyncio
import errno
import os
import signal

import numpy as np
import pytest

from dragoman_common.errors import UnavailableError
from dragoman_worker.ports import RunnerEndedError

ROW = np.array([3, 5], dtype=np.int32)


def ask(engine, within_s=20.0):
    return engine.score("local", [ROW], asyncio.get_running_loop().time() + within_s)


def fail_launches(launcher, monkeypatch, *failures):
    """Have the next starts fail so."""
    real, left = launcher.launch, list(failures)

    async def launch(files):
        if left:
            raise left.pop(0)
        return await real(files)

    monkeypatch.setattr(launcher, "launch", launch)


@pytest.fixture
def changes():
    return asyncio.Event()


async def test_process_that_cannot_be_started_is_tried_until_it_comes_up(make_engine, launcher, monkeypatch):
    engine = await make_engine()
    real, left = asyncio.create_subprocess_exec, [errno.ENOMEM, errno.EAGAIN, errno.EMFILE]

    async def start(*arguments, **named):
        if left:
            raise OSError(number := left.pop(), os.strerror(number))
        return await real(*arguments, **named)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    os.kill(launcher.pid, signal.SIGKILL)
    assert (await ask(engine)).tolist() == [[8, 2]]
    assert engine.num_starts == 5
    assert engine.failure is None


async def test_third_failed_start_in_a_row_is_reported_and_refuses_calls(make_engine, launcher, monkeypatch, changes):
    engine = await make_engine(on_change=changes.set)
    fail_launches(launcher, monkeypatch, *[RunnerEndedError("no memory", is_own_doing=True)] * 3)
    changes.clear()
    os.kill(launcher.pid, signal.SIGKILL)
    await asyncio.wait_for(changes.wait(), 10)
    assert "no memory" in engine.failure.message
    with pytest.raises(UnavailableError, match="no memory"):
        await ask(engine)
    changes.clear()
    await asyncio.wait_for(changes.wait(), 10)
    assert engine.failure is None
    assert (await ask(engine)).tolist() == [[8, 2]]


async def test_supervision_that_ends_by_a_defect_is_reported_and_refuses_calls(
    make_engine, launcher, monkeypatch, changes, caplog
):
    engine = await make_engine(on_change=changes.set)
    fail_launches(launcher, monkeypatch, ZeroDivisionError("a defect"))
    changes.clear()
    os.kill(launcher.pid, signal.SIGKILL)
    await asyncio.wait_for(changes.wait(), 10)
    with pytest.raises(UnavailableError, match="not supervised any more"):
        await ask(engine)
    (record,) = [one for one in caplog.records if one.message == "supervision ended by a defect"]
    assert record.exc_info[0] is ZeroDivisionError


async def test_batch_that_fails_by_a_defect_holds_no_caller_and_no_place(make_engine, launcher, monkeypatch):
    engine = await make_engine()

    async def score(_rows):
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(launcher.runners[-1], "score", score)
        for _ in range(5):
            with pytest.raises(Exception, match="defect of the worker"):
                await ask(engine)
    assert (await ask(engine)).tolist() == [[8, 2]]
    assert engine.num_running == engine.num_waiting == 0
