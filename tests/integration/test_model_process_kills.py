# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A model process that is killed again and again takes down nothing but the calls that were inside it."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from dragoman_client.async_client import AsyncClient
from dragoman_common import errors
from tests.integration import corpus

KILLS = 20
PERIOD_S = 60
DEADLINE_S = 8.0


def children(pid):
    return [int(child) for child in (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()]


def serving_process(front_pid):
    """Pid of the process that runs the LSTM: the only child of the front's fork server."""
    forked = [pid for child in children(front_pid) for pid in children(child)]
    return forked[0] if forked else None


async def capacity(client, seconds):
    """Calls a second with 8 in flight."""
    ends_s = time.monotonic() + seconds
    done = 0

    async def one():
        nonlocal done
        while time.monotonic() < ends_s:
            await client.classify("topics", ["grain1 word2 word3"], timeout_s=DEADLINE_S)
            done += 1

    await asyncio.gather(*(one() for _ in range(8)))
    return done / seconds


@pytest.mark.slow
async def test_20_kills_in_60_s_at_half_load_cost_only_the_calls_inside(trained):
    front_pid = int(trained.service("worker")["pid"])
    outcomes = []

    async def call(client):
        started_s = time.monotonic()
        try:
            answer = await client.classify("topics", ["grain1 word2 word3"], timeout_s=DEADLINE_S)
            outcome = "OK" if answer.labels == corpus.LABELS else "WRONG"
        except errors.DragomanError as error:
            outcome = type(error).__name__
        outcomes.append((outcome, time.monotonic() - started_s))

    async with AsyncClient(trained.target, trained.token("--ttl-s", "3600")) as client, asyncio.TaskGroup() as calls:
        rate = await capacity(client, 3) / 2
        begun_s = time.monotonic()
        killed = 0
        while (now_s := time.monotonic() - begun_s) < PERIOD_S:
            calls.create_task(call(client))
            if now_s >= killed * (PERIOD_S / KILLS) and (pid := serving_process(front_pid)):
                os.kill(pid, signal.SIGKILL)
                killed += 1
            await asyncio.sleep(1 / rate)
        async with asyncio.timeout(10):
            while True:
                try:
                    await client.classify("topics", ["grain1"], timeout_s=10)
                    break
                except errors.UnavailableError:
                    await asyncio.sleep(0.1)
    by_outcome = {name: sum(1 for outcome, _ in outcomes if outcome == name) for name, _ in outcomes}
    longest_s = max(duration_s for _, duration_s in outcomes)
    print(f"rate {rate:.0f}/s, kills {killed}, outcomes {by_outcome}, longest {longest_s:.2f} s")
    assert killed == KILLS
    assert set(by_outcome) <= {"OK", "UnavailableError"}
    assert by_outcome.get("UnavailableError", 0) <= 8 * KILLS
    assert longest_s <= DEADLINE_S + 0.5
    assert int(trained.service("worker")["pid"]) == front_pid
