# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A model process that is killed again and again takes down nothing but the calls that were inside it.

As bench/worker/kills.py, but through the whole platform: texts with known answers, in an open loop at half of what the
platform can do, and after the run every call is held against the moments of the kills.
"""

import asyncio
import collections
import itertools
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from dragoman_client.async_client import AsyncClient
from dragoman_common import errors
from tests.integration import corpus

KILLS = 20
PERIOD_S = 60
DEADLINE_S = 8.0
LATE_S = 0.5
MAX_BACK_S = 10.0
# Two batches of the worker's default MAX_BATCH_SIZE: one that runs, one that is at hand. Each call here has one row.
MAX_ROWS_INSIDE = 2 * 64
NUM_TEXTS = 60
LONGEST_WORDS = 120


@dataclass(frozen=True)
class Call:
    """One call as its caller saw it; times of time.monotonic."""

    sent_s: float
    ended_s: float
    outcome: str

    def was_inside_at(self, moment_s):
        return self.sent_s <= moment_s <= self.ended_s


def children(pid):
    """None of a process that has gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def serving_process(front_pid):
    """Pid of the process that runs the LSTM: the only child of the front's fork server."""
    return next((pid for child in children(front_pid) for pid in children(child)), None)


async def known_texts(client):
    """Texts of all lengths and topics that the undisturbed model answers right, with their topics."""
    rows = [row for row in corpus.rows(2 * NUM_TEXTS, seed=3) if len(row["text"].split()) <= LONGEST_WORDS]
    answer = await client.classify("topics", [row["text"] for row in rows], timeout_s=60)
    known = [row for row, got in zip(rows, answer.rows, strict=True) if got.label == row["label"]]
    assert len(known) >= NUM_TEXTS
    assert {row["label"] for row in known} == set(corpus.LABELS)
    return known


async def capacity(client, rows, seconds):
    """Calls a second with 8 in flight."""
    ends_s = time.monotonic() + seconds
    done = 0

    async def one(texts):
        nonlocal done
        while time.monotonic() < ends_s:
            await client.classify("topics", [next(texts)["text"]], timeout_s=DEADLINE_S)
            done += 1

    await asyncio.gather(*(one(itertools.cycle(rows[start::8])) for start in range(8)))
    return done / seconds


async def send(client, row):
    """Make one call and note what became of it."""
    sent_s = time.monotonic()
    try:
        answer = await client.classify("topics", [row["text"]], timeout_s=DEADLINE_S)
        outcome = "OK" if [got.label for got in answer.rows] == [row["label"]] else "WRONG"
    except errors.DragomanError as error:
        outcome = type(error).__name__
    return Call(sent_s, time.monotonic(), outcome)


async def load_and_kill(client, rows, rate, front_pid):
    """Send at a steady rate for PERIOD_S, kill KILLS times; returns the calls and the moments of the kills."""
    sending, killed_s, last_pid = [], [], None
    begun_s = time.monotonic()
    texts = itertools.cycle(rows)
    async with asyncio.TaskGroup() as calls:
        while (now_s := time.monotonic() - begun_s) < PERIOD_S:
            is_due = len(killed_s) < KILLS and now_s >= len(killed_s) * PERIOD_S / KILLS
            # A kill while no call is under way would show nothing.
            has_calls = any(not task.done() for task in sending[-8:])
            if is_due and has_calls and (pid := serving_process(front_pid)) not in (None, last_pid):
                # Only a new process: one that was killed may still be listed.
                os.kill(pid, signal.SIGKILL)
                killed_s.append(time.monotonic())
                last_pid = pid
            # At its time, whatever became of those before: what is late is made up for.
            num_due = int(now_s * rate) + 1 - len(sending)
            sending.extend([calls.create_task(send(client, next(texts))) for _ in range(num_due)])
            # Shorter than a call takes, so that kills meet calls.
            await asyncio.sleep(1 / (8 * rate))
    return [task.result() for task in sending], killed_s


@pytest.mark.slow
async def test_20_kills_in_60_s_at_half_load_cost_only_the_calls_inside(trained):
    front_pid = int(trained.service("worker")["pid"])
    async with AsyncClient(trained.target, trained.token("--ttl-s", "3600")) as client:
        rows = await known_texts(client)
        rate = await capacity(client, rows, 3) / 2
        calls, killed_s = await load_and_kill(client, rows, rate, front_pid)
        # The last kill may come after the last call of the load.
        calls.append(await send(client, rows[0]))
    outcomes = collections.Counter(call.outcome for call in calls)
    # Of calls sent after the kill: an answer that was on its way already says nothing.
    back_s = [
        min(call.ended_s for call in calls if call.outcome == "OK" and call.sent_s >= moment_s) - moment_s
        for moment_s in killed_s
    ]
    failed = [call for call in calls if call.outcome != "OK"]
    num_inside = [sum(call.was_inside_at(moment_s) for call in calls) for moment_s in killed_s]
    num_lost = [sum(call.was_inside_at(moment_s) for call in failed) for moment_s in killed_s]
    longest_s = max(call.ended_s - call.sent_s for call in calls)
    print(
        f"rate {rate:.0f}/s, kills {len(killed_s)}, outcomes {dict(outcomes)}, back after at most {max(back_s):.2f} s, "
        f"inside at a kill {num_inside}, lost {num_lost}, longest {longest_s:.2f} s"
    )
    assert len(killed_s) == KILLS
    assert set(outcomes) <= {"OK", "UnavailableError"}
    assert max(back_s) <= MAX_BACK_S
    assert all(any(call.was_inside_at(moment_s) for moment_s in killed_s) for call in failed)
    assert min(num_inside) > 0
    assert all(lost <= min(inside, MAX_ROWS_INSIDE) for inside, lost in zip(num_inside, num_lost, strict=True))
    assert longest_s <= DEADLINE_S + LATE_S
    assert int(trained.service("worker")["pid"]) == front_pid
