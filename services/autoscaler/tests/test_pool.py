# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of a pool, what is said when nothing is, and when it is active."""

import math

import pytest

from dragoman_autoscaler.demand import Held
from dragoman_autoscaler.pool import Pool, PoolLimits, Sight
from dragoman_autoscaler.ports import WorkerLoad
from dragoman_autoscaler.rule import PENDING, QUEUE, WORK, targets_by_metric, values_by_metric
from dragoman_autoscaler.targets import Targets

TARGETS = Targets(pending_tokens=1000, queue_time_ms=100, utilization=0.75)
LIMITS = PoolLimits(stale_after_s=3, smoothing_s=5, empty_after_s=60, cool_down_s=30)


def pool(limits=LIMITS):
    return Pool("p", limits, 0.0)


def values(one, now_s, held=Held()):  # noqa: B008 - frozen
    return values_by_metric(one.state(now_s), held, TARGETS, one.capacity(TARGETS))


def workers_asked_for(found):
    return math.ceil(max(found[name] / target for name, target in targets_by_metric(TARGETS).items()))


def report(one, address, now_s, **load):
    one.reported(address, WorkerLoad(**load), now_s)


def test_metrics_are_totals_over_the_workers():
    one = pool()
    one.resolved({"a", "b"}, 0.0)
    report(one, "a", 1.0, pending_tokens=300, queue_time_ms=40)
    report(one, "b", 1.0, pending_tokens=500, queue_time_ms=20)
    for at in range(2, 60):
        report(one, "a", at, pending_tokens=300, queue_time_ms=40)
        report(one, "b", at, pending_tokens=500, queue_time_ms=20)
    found = values(one, 59.5)
    assert found[PENDING] == pytest.approx(800, rel=0.01)
    assert found[QUEUE] == pytest.approx(60, rel=0.01)
    assert one.state(59.5).num_workers == 2


def test_held_tokens_are_pending_and_their_wait_is_no_queue_time():
    one = pool()
    one.resolved(set(), 0.0)
    assert one.state(0.0).sight is Sight.EMPTY
    found = values(one, 0.0, Held(calls=3, tokens=120, oldest_wait_s=40))
    assert found == {PENDING: 120, QUEUE: 0, WORK: 0}


def test_a_short_burst_is_smoothed_and_a_lasting_one_is_seen_within_one_sync():
    one = pool()
    one.resolved({"a"}, 0.0)
    report(one, "a", 0.0)
    report(one, "a", 10.0, pending_tokens=50_000)
    report(one, "a", 10.2)
    report(one, "a", 11.0)
    assert values(one, 11.0)[PENDING] < 2500
    for tenth in range(120, 270):
        report(one, "a", tenth / 10, pending_tokens=8000)
    assert values(one, 27.0)[PENDING] > 7000


def test_a_new_process_keeps_the_workers_that_the_name_has():
    one = pool()
    for found in (values(one, 0.0), values(one, 100.0)):
        assert workers_asked_for(found) == 1
    one.resolved({f"w{number}" for number in range(7)}, 0.0)
    found = values(one, 1.0)
    assert found == {PENDING: 7 * 1000, QUEUE: 7 * 100, WORK: 7 * 75}
    assert workers_asked_for(found) == 7
    assert one.is_active(1.0)


@pytest.mark.parametrize("pending", [0, 100, 40_000])
def test_blind_answers_what_was_known_and_never_fewer_workers_than_there_are(pending):
    one = pool()
    one.resolved({"a", "b", "c"}, 0.0)
    for address in "abc":
        report(one, address, 1.0, pending_tokens=pending)
    known = values(one, 1.0)
    assert known[PENDING] == 3 * pending
    for now_s in (4.1, 60.0, 3600.0):
        assert one.state(now_s).sight is Sight.BLIND
        found = values(one, now_s)
        assert found[PENDING] == max(3 * pending, 3 * 1000)
        assert workers_asked_for(found) == max(3, math.ceil(3 * pending / 1000))
        assert one.is_active(now_s)


def test_blind_while_the_name_loses_some_keeps_those_that_are_left():
    one = pool()
    one.resolved({"a", "b", "c"}, 0.0)
    one.resolved({"a", "b"}, 10.0)
    assert workers_asked_for(values(one, 10.0)) == 2


def test_a_name_that_loses_all_addresses_at_once_is_believed_only_after_a_while():
    one = pool()
    one.resolved({"a", "b", "c", "d"}, 0.0)
    report(one, "a", 1.0, pending_tokens=10)
    one.resolved(set(), 20.0)
    assert workers_asked_for(values(one, 20.0)) == 4
    assert workers_asked_for(values(one, 79.0)) == 4
    assert one.is_active(79.0)
    assert values(one, 80.0) == {PENDING: 0, QUEUE: 0, WORK: 0}
    assert not one.is_active(80.0)


def test_a_pool_that_was_let_go_is_empty_at_once_and_does_not_call_itself_back():
    one = pool()
    one.resolved({"a"}, 0.0)
    for now_s in range(31):
        report(one, "a", now_s)
    assert not one.is_active(30.0)
    one.resolved(set(), 31.0)
    assert one.state(31.0).sight is Sight.EMPTY
    assert not one.is_active(31.0)


def test_one_silent_worker_counts_as_the_others_do():
    one = pool()
    one.resolved({"a", "b", "c", "d"}, 0.0)
    for address in "abcd":
        report(one, address, 1.0, pending_tokens=900)
    for now_s in range(2, 40):
        for address in "abc":
            report(one, address, now_s, pending_tokens=900)
    assert values(one, 39.0)[PENDING] == pytest.approx(3600)
    one.resolved({"a", "b", "c"}, 39.0)
    for now_s in range(40, 80):
        for address in "abc":
            report(one, address, now_s, pending_tokens=900)
    assert values(one, 79.0)[PENDING] == pytest.approx(2700, rel=0.01)


def test_active_while_anything_is_pending_runs_or_was_within_the_cool_down():
    one = pool()
    one.resolved(set(), 0.0)
    assert not one.is_active(0.0)
    one.demanded(10.0)
    assert one.is_active(10.0)
    assert one.is_active(39.9)
    assert not one.is_active(40.0)
    one.resolved({"a"}, 50.0)
    report(one, "a", 50.0)
    one = pool()
    one.resolved({"a"}, 0.0)
    for now_s in range(100):
        report(one, "a", now_s)
    assert not one.is_active(99.0)
    # A call so short that no report found it pending.
    report(one, "a", 100.0, calls_per_s=0.5)
    assert one.is_active(100.0)


def test_a_new_process_does_not_let_a_pool_go_before_its_own_cool_down():
    one = pool()
    one.resolved({"a"}, 0.0)
    report(one, "a", 0.5)
    assert one.is_active(29.0)


def full_for(one, seconds, *, rate, pending=2000, start_s=0.0):
    for half in range(int(2 * seconds)):
        report(one, "a", start_s + half / 2, pending_tokens=pending, tokens_per_s=rate)


def test_capacity_is_learned_from_workers_that_have_been_full_and_keeps_the_workers_that_the_load_needs():
    one = pool()
    one.capacity(TARGETS)
    one.resolved({"a"}, 0.0)
    full_for(one, 3.0, rate=100)
    assert not one.capacity(TARGETS).is_learned
    report(one, "a", 4.0)
    full_for(one, 60.0, rate=4000, start_s=5.0)
    assert one.capacity(TARGETS).tokens_per_s == pytest.approx(4000)
    one.resolved({"a", "b"}, 65.0)
    for now_s in range(65, 130):
        for address in "ab":
            report(one, address, now_s, pending_tokens=300, tokens_per_s=1500)
    found = values(one, 129.0)
    # Pending alone would give one of the two away, and its 3000 tokens/s are 75 % of what one can do.
    assert math.ceil(found[PENDING] / 1000) == 1
    assert found[WORK] == pytest.approx(75, rel=0.02)


def test_batches_that_end_by_leaps_do_not_make_a_worker_look_faster_than_it_is():
    one = pool()
    one.capacity(TARGETS)
    one.resolved({"a"}, 0.0)
    for half in range(120):
        leap = 8000 if half % 2 else 0
        report(one, "a", half / 2, pending_tokens=2000, tokens_per_s=leap)
    assert one.capacity(TARGETS).tokens_per_s == pytest.approx(4000, rel=0.2)


def test_a_worker_that_stands_still_or_got_a_burst_teaches_nothing():
    one = pool()
    one.capacity(TARGETS)
    one.resolved({"a"}, 0.0)
    full_for(one, 60.0, rate=4000)
    full_for(one, 60.0, rate=0, start_s=60.0)
    assert one.capacity(TARGETS).tokens_per_s == pytest.approx(4000, rel=0.05)
    for second in range(120, 200, 2):
        report(one, "a", second, pending_tokens=9000, tokens_per_s=10)
        report(one, "a", second + 1, pending_tokens=0, tokens_per_s=10)
    assert one.capacity(TARGETS).tokens_per_s == pytest.approx(4000, rel=0.05)
    full_for(one, 120.0, rate=2000, start_s=200.0)
    assert one.capacity(TARGETS).tokens_per_s == pytest.approx(2000, rel=0.05)


def test_a_backlog_asks_for_the_workers_that_would_do_it_and_not_for_one_for_each_target_in_it():
    one = pool()
    one.capacity(TARGETS)
    one.resolved({"a"}, 0.0)
    for half in range(120):
        # 8000 tokens a second come, 4000 are done.
        report(one, "a", half / 2, pending_tokens=2000 + 2000 * half, tokens_per_s=4000)
    found = values(one, 59.5)
    assert found[WORK] == pytest.approx(200, rel=0.05)
    assert one.state(59.5).pending_tokens > 200 * TARGETS.pending_tokens
    # Twice what comes and a minute's share of the backlog, at half of their time.
    assert workers_asked_for(found) == pytest.approx(2 * (2 + 220_000 / 60 / 4000), abs=1)


def test_until_a_capacity_is_learned_no_worker_goes_that_is_not_seen_to_be_spare():
    one = pool()
    one.capacity(TARGETS)
    one.resolved({"a", "b", "c"}, 0.0)
    for rate, expected in ((500, 3), (320, 2), (120, 1), (500, 3)):
        start_s = one._smoothed_s
        for second in range(60):
            for address in "abc":
                report(one, address, start_s + second, pending_tokens=20, tokens_per_s=rate)
        assert not one.capacity(TARGETS).is_learned
        assert workers_asked_for(values(one, start_s + 59)) == expected


def test_capacity_is_kept_for_a_bounded_number_of_targets():
    one = pool()
    for number in range(100):
        one.capacity(Targets(pending_tokens=number + 1))
    assert len(one._full) == 16
