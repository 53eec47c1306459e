# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Two of everything, calls all the time: pods are killed, evicted, replaced by another release and by the one before.

The only calls that fail are those that were under way on a gateway that was killed. DRAGOMAN_TEST_POD_KILLS: how many.
"""

import os
import random
from collections import Counter

import pytest

from tests.cluster.chaos import evict, kill_at_random, until_replaced, victims
from tests.cluster.kubectl import component
from tests.cluster.places import VALUES, VALUES_TWO
from tests.faults.figures import note

pytestmark = pytest.mark.slow

NUM_KILLS = int(os.environ.get("DRAGOMAN_TEST_POD_KILLS", "20"))


def test_calls_go_on_while_pods_are_killed(two, load):
    with load(callers=8) as calls:
        kills = kill_at_random(two, num_kills=NUM_KILLS, rng=random.Random(13))
        outcome = calls.end()
    counts = Counter(kill.component for kill in kills)
    note(
        f"{NUM_KILLS} pods killed ({', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}): {outcome}"
    )
    gateways = [(kill.began_s, kill.ended_s) for kill in kills if kill.component == "gateway"]
    assert outcome.num_wrong == 0
    assert outcome.failed_apart_from(gateways) == []
    assert len(outcome.failures) <= 8 * len(gateways)
    assert outcome.num_ok > 100


def test_calls_go_on_while_every_pod_is_evicted_in_turn(two, load):
    with load(callers=8) as calls:
        for pod in victims(two.kubectl):
            evict(two.kubectl, pod)
            until_replaced(two.kubectl, pod)
        outcome = calls.end()
    note(f"every pod evicted: {outcome}")
    assert (outcome.num_wrong, outcome.failures) == (0, ())


def test_calls_go_on_through_an_upgrade_and_a_rollback(two, load):
    before = {pod["metadata"]["uid"] for pod in victims(two.kubectl)}
    with load(callers=8) as calls:
        two.upgrade(VALUES, VALUES_TWO, pairs=("deadlineSeconds=29",))
        between = {pod["metadata"]["uid"] for pod in victims(two.kubectl)}
        two.rollback()
        outcome = calls.end()
    after = {pod["metadata"]["uid"]: component(pod) for pod in victims(two.kubectl)}
    assert not before & between
    assert not between & after.keys()
    note(f"upgrade and rollback, every pod another one: {outcome}")
    assert (outcome.num_wrong, outcome.failures) == (0, ())
