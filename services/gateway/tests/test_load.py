# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How busy a worker is: reports, and what this gateway did since."""

import random
from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman_common.testing import FakeClock
from dragoman_gateway.load import FRESH_S, LoadEstimate, LoadReport, is_less
from dragoman_gateway.workers import WorkerReport, WorkerTable


def report(pending, capacity=None, **more):
    return LoadReport(pending_tokens=pending, capacity_tokens=capacity, **more)


def test_what_was_sent_since_the_report_counts_on_top():
    load = LoadEstimate()
    load.begin(10)
    load.report(report(100), 0.0)
    assert load.pending_tokens == 100
    load.begin(30)
    assert load.pending_tokens == 130
    load.end(30)
    # This one was in the report, and is no longer there.
    load.end(10)
    assert load.pending_tokens == 90


def test_a_calls_own_trailer_does_not_count_it():
    load = LoadEstimate()
    load.begin(10)
    load.report(report(50), 0.0, ended_tokens=10)
    load.end(10)
    assert load.pending_tokens == 50


def test_a_report_made_before_our_calls_arrived_does_not_hide_them():
    load = LoadEstimate()
    load.begin(500)
    load.report(report(0), 0.0)
    assert load.pending_tokens == 500


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "report"]), st.integers(0, 100)), max_size=60))
def test_the_estimate_is_never_below_our_own_calls_nor_lost_when_they_end(steps):
    load, open_calls = LoadEstimate(), []
    for step, tokens in steps:
        if step == "begin":
            load.begin(tokens)
            open_calls.append(tokens)
        elif step == "end" and open_calls:
            load.end(open_calls.pop())
        elif step == "report":
            load.report(report(tokens), 0.0)
        assert (load.pending_tokens or 0) >= 0
        if load.pending_tokens is not None:
            assert load.pending_tokens >= sum(open_calls)
    assert load.num_in_flight == len(open_calls)


def test_a_stale_report_is_none():
    load = LoadEstimate()
    assert load.fresh_report(0.0) is None
    load.report(report(5), 1.0)
    assert load.fresh_report(1.0 + FRESH_S) == report(5)
    assert load.fresh_report(1.1 + FRESH_S) is None


def loaded(pending=None, capacity=None, *, watched=0, in_flight=0):
    made = LoadEstimate()
    made.watched(watched)
    if pending is not None:
        made.report(report(pending, capacity, waiting_calls=watched), 0.0)
    for _ in range(in_flight):
        made.begin(1)
    return made


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        (loaded(100, 1_000), loaded(90, 100), True),
        (loaded(100), loaded(90), False),
        (loaded(100, 1_000), loaded(90), False),
        (loaded(100, 1_000), loaded(10, 100), None),
        (loaded(watched=3), loaded(watched=2, in_flight=2), True),
        (loaded(5_000, watched=1), loaded(watched=3), True),
        (loaded(), loaded(), None),
    ],
)
def test_workers_are_compared_by_share_of_capacity_else_tokens_else_calls(one, other, verdict):
    assert is_less(one, other) is verdict


def test_what_a_worker_takes_is_remembered_while_it_is_idle():
    load = loaded(100, 1_000)
    load.report(report(0), 1.0)
    assert load.capacity_tokens == 1_000
    load.forget_report()
    assert (load.capacity_tokens, load.pending_tokens) == (None, None)


@pytest.fixture
def table(make):
    made = WorkerTable(random.Random(7), FakeClock())
    for place in range(4):
        made.update(f"w{place}", WorkerReport(states={make.key(): "READY"}))
    return made


def test_calls_go_to_the_workers_with_fewer_pending_tokens(table, make):
    for place in range(4):
        table.update_load(f"w{place}", report(1_000 * place, waiting_calls=4 - place))
    chosen = Counter(table.choose(make.key()) for _ in range(600))
    # The most loaded of all loses against every other; the least loaded wins whenever it is one of the two.
    assert chosen["w3"] == 0
    assert chosen["w0"] > chosen["w1"] > chosen["w2"] > 0


def test_a_gateway_that_sends_many_calls_between_reports_spreads_them(table, make):
    for place in range(4):
        table.update_load(f"w{place}", report(0))
    with ExitStack() as stack:
        sent = Counter()
        for _ in range(400):
            address = table.choose(make.key())
            stack.enter_context(table.in_flight(address, 10, lambda: None))
            sent[address] += 1
    assert max(sent.values()) - min(sent.values()) <= 8


def test_a_silent_worker_is_passed_over_while_another_is_heard(table, make):
    for place in range(1, 4):
        table.set_silent(f"w{place}", is_silent=True)
    assert {table.choose(make.key()) for _ in range(40)} == {"w0"}
    table.set_silent("w0", is_silent=True)
    assert len({table.choose(make.key()) for _ in range(40)}) == 4


def test_calls_at_a_silent_worker_are_given_up_unless_all_are_silent(table, make):
    ended = []
    with table.in_flight("w0", 1, lambda: ended.append("w0")), table.in_flight("w1", 1, lambda: ended.append("w1")):
        for place in range(4):
            table.set_silent(f"w{place}", is_silent=True)
        table.give_up("w0")
        assert ended == []
        table.set_silent("w3", is_silent=False)
        table.give_up("w0")
        assert ended == ["w0"]


def test_a_worker_that_was_tried_is_passed_over_while_there_is_another(table, make):
    assert {table.choose(make.key(), tried={"w0", "w1", "w2"}) for _ in range(20)} == {"w3"}
    assert len({table.choose(make.key(), tried={"w0", "w1", "w2", "w3"}) for _ in range(40)}) == 4


def test_queue_times_are_known_only_from_fresh_reports():
    clock = FakeClock()
    table = WorkerTable(random.Random(7), clock)
    key = object()
    for name in ("a", "b"):
        table.update(name, WorkerReport(states={key: "READY"}))
    table.update_load("a", report(5, queue_time_s=2.0))
    assert table.queue_times_s(key) == [2.0, None]
    clock.advance(FRESH_S + 0.1)
    assert table.queue_times_s(key) == [None, None]
