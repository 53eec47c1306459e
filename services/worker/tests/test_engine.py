# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The engine with a real child process: answers, errors, deadlines, kills, hangs, quarantine, drain."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from dragoman_common.errors import (
    DataLossError,
    DeadlineExceededError,
    InvalidArgumentError,
    OverloadedError,
    UnavailableError,
)
from dragoman_worker.ports import ModelFailedError, RunnerEndedError
from dragoman_worker.suspects import QuarantinedInputError

WAIT, CRASH, RAISE, REFUSE, TOO_FEW, LOSE = 1001, 1002, 1003, 1004, 1005, 1006


def row(*ids: int) -> np.ndarray:
    return np.array(ids, dtype=np.int32)


def expected(*rows: np.ndarray) -> list[list[float]]:
    return [[float(one.sum()), float(one.size)] for one in rows]


def ask(engine, *rows, tenant="local", within_s=10.0):
    deadline_s = asyncio.get_running_loop().time() + within_s
    return asyncio.create_task(engine.score(tenant, list(rows), deadline_s))


async def until(predicate: Callable[[], bool]) -> None:
    """Let the loop run until something under test has happened; the test's own time limit bounds it."""
    while not predicate():  # noqa: ASYNC110 - the code under test has no event for what only tests ask
        await asyncio.sleep(0.001)


async def until_in_process(engine, num_rows=1):
    await until(lambda: engine.num_running >= num_rows)


async def until_begun(launcher):
    await until(lambda: len(launcher.runners[-1]._begun) > 0)


async def test_every_row_gets_its_own_scores(make_engine):
    engine = await make_engine()
    rows = [row(*range(1, n + 1)) for n in (1, 10, 500, 3)]
    assert (await ask(engine, *rows)).tolist() == expected(*rows)
    assert engine.num_labels == 2


async def test_random_sizes_and_cancellations_swap_no_answer(make_engine):
    engine = await make_engine()
    random.seed(1)
    calls = []
    for nonce in range(3000):
        rows = [row(nonce % 900, *range(random.choice([1, 10, 60]))) for _ in range(random.choice([1, 1, 1, 5]))]
        calls.append((rows, ask(engine, *rows, tenant=random.choice("abc"), within_s=60)))
        if random.random() < 0.05:
            random.choice(calls)[1].cancel()
        if random.random() < 0.05:
            await asyncio.sleep(0)
    answers = await asyncio.gather(*(task for _, task in calls), return_exceptions=True)
    num_answered = 0
    for (rows, _), answer in zip(calls, answers, strict=True):
        if not isinstance(answer, BaseException):
            assert answer.tolist() == expected(*rows)
            num_answered += 1
        else:
            assert isinstance(answer, asyncio.CancelledError)
    assert num_answered > 2500
    assert engine.num_waiting == engine.num_running == engine.in_flight_tokens == 0


async def test_one_bad_row_fails_alone(make_engine):
    engine = await make_engine()
    blocker = ask(engine, row(WAIT, 100))
    await until_in_process(engine)
    for order, error in ((RAISE, ModelFailedError), (REFUSE, InvalidArgumentError), (TOO_FEW, ModelFailedError)):
        good = [ask(engine, row(n, n)) for n in range(1, 4)]
        bad = ask(engine, row(order, 1))
        with pytest.raises(error):
            await bad
        assert [(await task).tolist() for task in good] == [expected(row(n, n)) for n in range(1, 4)]
    await blocker
    assert engine.num_starts == 1


async def test_sigkill_fails_only_the_call_inside_and_waiting_calls_are_answered(make_engine, launcher):
    engine = await make_engine(max_batch_size=1)
    inside = ask(engine, row(WAIT, 60_000))
    await until_begun(launcher)
    waiting = [ask(engine, row(n, 7), within_s=30) for n in range(1, 20)]
    await until_in_process(engine, 2)
    os.kill(launcher.pid, signal.SIGKILL)
    with pytest.raises(UnavailableError, match="SIGKILL"):
        await inside
    answers = await asyncio.gather(*waiting)
    assert [answer.tolist() for answer in answers] == [expected(row(n, 7)) for n in range(1, 20)]
    assert engine.num_starts == 2
    assert (await ask(engine, row(5))).tolist() == expected(row(5))


async def test_batch_sent_to_a_process_that_is_dead_already_is_not_lost(make_engine, launcher):
    engine = await make_engine()
    for n in range(1, 6):
        os.kill(launcher.pid, signal.SIGKILL)
        assert (await ask(engine, row(n))).tolist() == expected(row(n))
    assert engine.num_starts == 6


async def test_twenty_kills_under_load_lose_only_the_calls_inside(make_engine, launcher):
    engine = await make_engine()
    random.seed(2)
    is_over = False
    outcomes: list[tuple[np.ndarray, object]] = []

    async def client(number: int) -> None:
        for turn in range(10**9):
            if is_over:
                return
            # Few distinct inputs: an input is often inside at several kills, and must not be quarantined for it.
            mine = row(number, turn % 3, 9)
            answer = await asyncio.gather(ask(engine, mine, row(WAIT, 1), within_s=20), return_exceptions=True)
            outcomes.append((mine, answer[0]))

    clients = [asyncio.create_task(client(number)) for number in range(1, 9)]
    num_lost = 0
    for _ in range(20):
        enough = len(outcomes) + random.randrange(10, 60)
        await until(lambda enough=enough: len(outcomes) >= enough)
        num_inside = engine.num_running
        num_lost += num_inside
        os.kill(launcher.pid, signal.SIGKILL)
        num_starts = engine.num_starts
        await until(lambda num=num_starts: engine.num_starts > num and engine.num_running > 0)
    is_over = True
    await asyncio.gather(*clients)
    failed = [answer for _, answer in outcomes if isinstance(answer, BaseException)]
    assert all(isinstance(answer, UnavailableError) for answer in failed), failed
    assert len(failed) <= num_lost
    for mine, answer in outcomes:
        if not isinstance(answer, BaseException):
            assert answer.tolist() == expected(mine, row(WAIT, 1))


async def test_stopped_process_does_not_hold_calls_past_their_deadline(make_engine, launcher):
    engine = await make_engine()
    os.kill(launcher.pid, signal.SIGSTOP)
    started_s = time.monotonic()
    calls = [ask(engine, row(n), within_s=0.3) for n in range(1, 50)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert time.monotonic() - started_s < 0.6
    assert all(isinstance(answer, DeadlineExceededError) for answer in answers)
    assert engine.num_waiting == engine.in_flight_tokens == 0
    os.kill(launcher.pid, signal.SIGCONT)
    assert (await ask(engine, row(5))).tolist() == expected(row(5))


async def test_hanging_batch_is_ended_and_what_had_not_begun_is_answered_by_the_next_process(make_engine, launcher):
    engine = await make_engine(max_batch_ms=200, max_batch_size=1)
    inside = ask(engine, row(WAIT, 60_000))
    await until_begun(launcher)
    behind = ask(engine, row(5))
    with pytest.raises(UnavailableError, match="hung"):
        await inside
    assert (await behind).tolist() == expected(row(5))
    os.kill(launcher.pid, signal.SIGSTOP)
    # The stopped process has not begun it.
    assert (await ask(engine, row(6))).tolist() == expected(row(6))
    assert engine.num_starts == 3


async def test_input_inside_two_crashes_is_quarantined_and_its_neighbours_are_not(make_engine):
    engine = await make_engine()
    blocker = ask(engine, row(WAIT, 100))
    await until_in_process(engine)
    poison, neighbours = row(CRASH, 5), [row(n, n) for n in range(1, 5)]
    calls = [ask(engine, one) for one in (*neighbours, poison)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    await blocker
    assert all(isinstance(answer, UnavailableError) for answer in answers)
    # The second time the poison runs alone, so its neighbours are answered although they are sent together.
    again = await asyncio.gather(*(ask(engine, one) for one in (*neighbours, poison)), return_exceptions=True)
    assert [answer.tolist() for answer in again[:-1]] == [expected(one) for one in neighbours]
    assert isinstance(again[-1], UnavailableError)
    with pytest.raises(QuarantinedInputError, match="quarantined"):
        await ask(engine, poison)
    with pytest.raises(QuarantinedInputError, match="row 1"):
        await ask(engine, row(3), poison)
    assert (await ask(engine, *neighbours)).tolist() == expected(*neighbours)
    assert engine.num_starts == 3


async def test_two_losses_of_the_device_leave_no_input_refused(make_engine, tmp_path):
    engine = await make_engine()
    texts = [row(LOSE, n) for n in range(1, 3)]
    device = tmp_path / "failing-device"
    device.touch()
    for _ in range(2):
        lost = await asyncio.gather(*(ask(engine, text) for text in texts), return_exceptions=True)
        assert all(isinstance(answer, UnavailableError) and "its device failed" in str(answer) for answer in lost), lost
    device.unlink()
    assert (await ask(engine, *texts)).tolist() == expected(*texts)


async def test_full_queue_is_refused_at_once_with_a_delay(make_engine, launcher):
    engine = await make_engine(max_waiting_requests=10)
    os.kill(launcher.pid, signal.SIGSTOP)
    held = [ask(engine, row(n), within_s=0.5) for n in range(10)]
    await until_in_process(engine)
    with pytest.raises(OverloadedError) as refusal:
        await ask(engine, row(1))
    assert 0.05 <= refusal.value.retry_after_s <= 5
    os.kill(launcher.pid, signal.SIGCONT)
    await asyncio.gather(*held)


async def test_one_tenant_cannot_fill_the_whole_queue(make_engine, launcher):
    engine = await make_engine(max_waiting_requests=10, max_tenant_share=0.5)
    os.kill(launcher.pid, signal.SIGSTOP)
    held = [ask(engine, row(n), tenant="flood", within_s=5) for n in range(5)]
    await until_in_process(engine)
    with pytest.raises(OverloadedError, match="your tenant"):
        await ask(engine, row(1), tenant="flood")
    quiet = ask(engine, row(8), tenant="quiet")
    os.kill(launcher.pid, signal.SIGCONT)
    assert (await quiet).tolist() == expected(row(8))
    await asyncio.gather(*held)


async def test_drain_answers_all_and_takes_nothing_new(make_engine):
    engine = await make_engine(max_batch_size=2)
    calls = [ask(engine, row(WAIT, 5, n)) for n in range(20)]
    await until_in_process(engine)
    draining = asyncio.create_task(engine.drain())
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="giving the model version up"):
        await ask(engine, row(1))
    answers = await asyncio.gather(*calls)
    await draining
    assert [answer.tolist() for answer in answers] == [expected(row(WAIT, 5, n)) for n in range(20)]


async def test_closed_engine_leaves_no_process(make_engine, launcher):
    engine = await make_engine()
    call = ask(engine, row(WAIT, 60_000))
    await until_in_process(engine)
    await engine.close()
    with pytest.raises(UnavailableError):
        await call
    with pytest.raises(ProcessLookupError):
        os.kill(launcher.pid, 0)


async def test_tampered_files_are_a_data_loss(make_engine):
    engine = await make_engine(start=False, digest="tampered")
    with pytest.raises(DataLossError, match="signed"):
        await engine.start()


async def test_process_that_does_not_load_in_time_is_ended(make_engine, launcher):
    launcher._load_timeout_s = 0.5
    engine = await make_engine(start=False, digest="hangs")
    with pytest.raises(RunnerEndedError, match="did not load"):
        await engine.start()
