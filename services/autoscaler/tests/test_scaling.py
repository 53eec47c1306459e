# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the rule does to a pool: the service's own code, before a model of the HPA and of workers (bench/autoscale)."""

import dataclasses
import itertools

import pytest

from bench.autoscale import traces
from bench.autoscale.fleet import Scene, WorkerModel, simulate
from bench.autoscale.hpa import Behaviour, Hpa, Policy
from dragoman_autoscaler.rule import PENDING, QUEUE

FAST = Behaviour(sync_s=5, down_window_s=15)
ONE = 18.0


@pytest.mark.parametrize("behaviour", [Behaviour(), FAST], ids=["kubernetes", "fast"])
@pytest.mark.parametrize("workers_worth", [0.3, 1.3, 3.4])
def test_constant_load_ends_at_a_number_and_stays_there(behaviour, workers_worth):
    # From one worker on, which must hold what comes until the next are up.
    scene = Scene(behaviour=behaviour, worker=WorkerModel(max_pending_tokens=10**9), deadline_s=120)
    found = simulate(scene, traces.constant(workers_worth * 45, 1_000, seed=3))
    assert found.num_failed == 0
    changes = [(at_s, size) for at_s, size in found.sizes if at_s < 1_000]
    assert found.size_at(999) == found.size_at(500), changes
    assert [size for at_s, size in changes if at_s > 500] == []
    # Neither starved nor twice of what it needs.
    assert workers_worth <= found.size_at(999) <= 2 * workers_worth + 1


def test_queues_alone_would_flap_and_the_work_metric_is_what_prevents_it():
    arrivals = traces.constant(63, 900)
    both = simulate(Scene(behaviour=FAST), arrivals)
    alone = simulate(Scene(behaviour=FAST, metrics=(PENDING, QUEUE)), arrivals)
    assert both.most_turns() <= 1
    assert alone.most_turns() >= 6


def test_a_step_is_answered_within_two_syncs_and_back_to_the_least_without_a_lost_call():
    arrivals = traces.step(ONE, times=8, seed=2)
    # Small calls to a worker that may hold them all until the first new one is up.
    scene = Scene(worker=WorkerModel(start_s=10, max_pending_tokens=10**9), deadline_s=60)
    for behaviour in (Behaviour(), FAST):
        found = simulate(dataclasses.replace(scene, behaviour=behaviour), arrivals)
        ups = [at_s for at_s, size in found.sizes if at_s >= 300 and size > 1]
        assert ups[0] <= 300 + 2 * behaviour.sync_s
        assert found.num_failed == 0
        assert found.sizes[-1][1] == 1


def test_a_pool_is_never_without_workers_while_there_is_demand_and_ends_without_any():
    arrivals = traces.naps(2 * ONE, seed=4)
    found = simulate(Scene(min_workers=0, first_workers=0), arrivals)
    assert found.num_failed == 0
    # Two naps end with calls, and each time the pool comes back from nothing.
    assert [size for _, size in found.sizes].count(0) >= 2
    for at_s in range(600, 900, 5):
        assert found.size_at(at_s + 5) >= 1
    # And by itself it does not come back.
    ups = [at_s for (_, before), (at_s, size) in itertools.pairwise(found.sizes) if not before and size]
    assert all(at_s % 900 >= 600 for at_s in ups), ups


@pytest.mark.parametrize("behaviour", [Behaviour(down_window_s=15), FAST], ids=["15 s syncs", "5 s syncs"])
def test_blind_keeps_the_workers_and_loses_no_call(behaviour):
    arrivals = traces.constant(3.4 * 45, 900, seed=5)
    scene = Scene(behaviour=behaviour, first_workers=4, blind_s=(300.0, 700.0))
    found = simulate(scene, arrivals)
    before = found.size_at(299)
    during = [size for at_s, size in found.sizes if 303 <= at_s < 700]
    assert all(size >= before for size in during)
    assert found.num_failed == 0


def test_a_process_that_never_hears_a_worker_keeps_them_all():
    arrivals = traces.constant(3.4 * 45, 600, seed=6)
    found = simulate(Scene(behaviour=FAST, first_workers=5, blind_s=(0.0, 1e9)), arrivals)
    assert found.sizes == [(0.0, 5)]


@pytest.mark.parametrize("behaviour", [Behaviour(down_window_s=30), FAST], ids=["15 s syncs", "5 s syncs"])
@pytest.mark.parametrize("workers_worth", [1.6, 3.4])
def test_a_restart_that_forgets_what_a_worker_can_do_takes_none_that_is_needed(behaviour, workers_worth):
    arrivals = traces.constant(workers_worth * 45, 900, seed=7)
    scene = Scene(behaviour=behaviour, first_workers=5, restart_s=400.0)
    found = simulate(scene, arrivals)
    assert found.num_failed == 0
    before = found.size_at(399)
    after = [size for at_s, size in found.sizes if 400 <= at_s < 900]
    assert all(size > workers_worth for size in after), (before, after)
    assert len(after) <= 1
    assert found.num_late == 0


@pytest.mark.slow
def test_recorded_load_loses_no_call():
    scene = Scene(
        worker=WorkerModel(fixed_s=0.05, tokens_per_s=2_500, start_s=40),
        targets=dataclasses.replace(Scene().targets, pending_tokens=6_000, queue_time_ms=4_000),
        deadline_s=60,
        late_s=10,
    )
    found = simulate(scene, traces.recorded("conversation"))
    assert found.num_calls == 19_366
    assert found.num_failed == 0
    assert found.num_late < 0.02 * found.num_calls
    assert found.most_turns() <= 2
    assert found.worker_s < 2 * found.ideal_s


class TestHpaModel:
    """The model, by what Kubernetes's documentation says of the real one."""

    def hpa(self, replicas_max=100, **behaviour):
        return Hpa(Behaviour(**behaviour), 1, replicas_max)

    def test_asks_for_the_total_over_the_target_rounded_up_and_takes_the_highest(self):
        assert self.hpa().sync(0, 4, {"a": 650, "b": 10}, {"a": 100, "b": 5}) == 7

    @pytest.mark.parametrize(("value", "expected"), [(439, 4), (441, 5), (361, 4), (301, 4), (299, 3)])
    def test_leaves_what_is_within_the_tolerance(self, value, expected):
        assert self.hpa(down_window_s=0).sync(0, 4, {"a": value}, {"a": 100}) == expected

    def test_scales_down_to_the_highest_of_the_window(self):
        hpa = self.hpa(down_window_s=60)
        sizes, size = [], 10
        for at, value in ((0, 8.0), (15, 3.0), (30, 5.0), (45, 2.0), (60, 2.0), (75, 2.0), (90, 2.0), (105, 2.0)):
            size = hpa.sync(at, size, {"a": value}, {"a": 1})
            sizes.append(size)
        assert sizes == [8, 8, 8, 8, 5, 5, 2, 2]

    def test_policies_bound_what_changes_in_a_period(self):
        hpa = self.hpa(down_window_s=0, down=(Policy(period_s=60, pods=1),), up=(Policy(period_s=60, percent=50),))
        sizes, size = [], 10
        for at in (0, 15, 30, 45, 60, 75):
            size = hpa.sync(at, size, {"a": 1}, {"a": 1})
            sizes.append(size)
        assert sizes == [9, 9, 9, 9, 8, 8]
        assert hpa.sync(1000, 8, {"a": 100}, {"a": 1}) == 12
        assert hpa.sync(1015, 12, {"a": 100}, {"a": 1}) == 12
