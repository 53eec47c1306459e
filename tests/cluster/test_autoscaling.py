# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""As many workers as the load needs: several within two periods of the HPA, and none at the end; no call fails.

The HPA's period (HPA_PERIOD_S) is the cluster's: 15 s by default, 5 s on the test cluster.
"""

import os
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import pytest

from tests.cluster.kubectl import Kubectl, is_ready, until
from tests.cluster.places import VALUES, VALUES_SCALED, VALUES_TWO
from tests.faults.figures import note

pytestmark = pytest.mark.slow

HPA_PERIOD_S = float(os.environ.get("DRAGOMAN_TEST_HPA_PERIOD_S", "5"))
WORKERS = "app.kubernetes.io/component=worker-cpu"
# One call of these takes a worker with 0.06 of a core about a quarter of a second.
HEAVY = {"rows_per_call": 128, "repeat": 30, "timeout_s": 60.0, "every_s": 2.0}


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    wanted: int
    ready: int


class Watch:
    """How many workers are wanted and ready, every half second, for the time of a block."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self.samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow)

    def _follow(self) -> None:
        while not self._stop.wait(0.5):
            found = self._kubectl.get("deployment", "dragoman-worker-cpu")
            ready = found["status"].get("readyReplicas", 0)
            self.samples.append(Sample(time.monotonic(), found["spec"]["replicas"], ready))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def first_s(self, more_than: int, *, since_s: float) -> float:
        """Seconds from a moment to the first sample that wants more workers than these."""
        return next(one.at_s for one in self.samples if one.at_s >= since_s and one.wanted > more_than) - since_s

    def changes_of_direction(self, *, since_s: float = 0.0) -> int:
        wanted = [one.wanted for one in self.samples if one.at_s >= since_s]
        steps = [after - before for before, after in pairwise(wanted) if after != before]
        return sum((before > 0) != (after > 0) for before, after in pairwise(steps))

    def __str__(self) -> str:
        """The steps: after how many seconds, how many wanted."""
        steps, last = [], None
        for one in self.samples:
            if one.wanted != last:
                steps.append(f"{one.at_s - self.samples[0].at_s:.0f} s: {one.wanted}")
                last = one.wanted
        return ", ".join(steps)


def wanted(kubectl) -> int:
    return kubectl.get("deployment", "dragoman-worker-cpu")["spec"]["replicas"]


@pytest.fixture(scope="module")
def scaled(kubectl, installation):
    """One pool, from 0 to 4 workers, and the model in it; nobody calls."""
    if not kubectl.run("api-resources", "--api-group=keda.sh", "--output=name").strip():
        pytest.skip("this cluster has no KEDA")
    installation.upgrade(VALUES, VALUES_TWO, VALUES_SCALED, wait=False)
    until(
        lambda: all(
            is_ready(pod)
            for pod in kubectl.pods("app.kubernetes.io/name=dragoman")
            if pod["metadata"]["labels"]["app.kubernetes.io/component"]
            in ("autoscaler", "gateway", "registry", "tokenizer")
        ),
        "the services behind the pool",
        limit_s=300,
    )
    yield installation
    # A pool without workers answers the next test's first call late.
    installation.upgrade(VALUES)
    installation.until_ready()


def test_pool_without_calls_goes_to_zero_and_its_first_call_is_held_until_a_worker_is_there(kubectl, scaled, load):
    until(lambda: not kubectl.pods(WORKERS), "no worker", limit_s=180)
    began_s = time.monotonic()
    with load(callers=1, every_s=1.0, timeout_s=120.0) as calls:
        until(lambda: any(is_ready(pod) for pod in kubectl.pods(WORKERS)), "a worker", limit_s=120)
        waited_s = time.monotonic() - began_s
        # Some calls more, after the one that was held.
        time.sleep(3)
        outcome = calls.end(limit_s=180)
    note(f"from no worker to one in {waited_s:.0f} s: {outcome}")
    assert (outcome.num_wrong, outcome.failures) == (0, ())
    assert outcome.num_ok > 0


def test_eight_times_the_load_is_met_within_two_periods_and_taken_back_without_a_failed_call(kubectl, scaled, load):
    with Watch(kubectl) as watch, load(callers=2, name="base", **HEAVY) as base:
        until(lambda: any(is_ready(pod) for pod in kubectl.pods(WORKERS)), "a worker", limit_s=120)
        # A worker that has just started is slow, and may be given a second one; the step is to begin from one.
        time.sleep(4 * HPA_PERIOD_S)
        until(lambda: wanted(kubectl) == 1, "one worker for the base load", limit_s=180)
        time.sleep(2 * HPA_PERIOD_S)
        before, step_s = wanted(kubectl), time.monotonic()
        with load(callers=14, name="more", **HEAVY) as more:
            until(lambda: wanted(kubectl) > before, "more workers wanted", limit_s=120)
            until(lambda: sum(map(is_ready, kubectl.pods(WORKERS))) > before, "more workers", limit_s=240)
            time.sleep(6 * HPA_PERIOD_S)
            most = wanted(kubectl)
            added = more.end(limit_s=180)
        until(lambda: wanted(kubectl) <= before, "back to what it was", limit_s=300)
        outcome = base.end(limit_s=180)
    until(lambda: wanted(kubectl) == 0, "no worker", limit_s=300)
    rise_s = watch.first_s(before, since_s=step_s)
    note(f"1x to 8x: {before} to {most} workers, the first asked for after {rise_s:.1f} s; {watch}; {outcome}; {added}")
    assert (outcome.num_wrong, outcome.failures) == (0, ())
    assert (added.num_wrong, added.failures) == (0, ())
    assert most > before
    # The load's own start within the pod takes some seconds more.
    assert rise_s <= 2 * HPA_PERIOD_S + 5
    assert watch.changes_of_direction(since_s=step_s) <= 1


def test_while_keda_is_stopped_nothing_goes_to_zero_and_nothing_fails(kubectl, scaled, load):
    keda = Kubectl(kubectl.kubeconfig, "keda")
    with load(callers=2, name="base", **HEAVY) as calls, Watch(kubectl) as watch:
        until(lambda: any(is_ready(pod) for pod in kubectl.pods(WORKERS)), "a worker", limit_s=180)
        keda.run("scale", "deployment", "keda-operator", "--replicas=0")
        try:
            stopped_s = time.monotonic()
            time.sleep(120)
            least = min(one.wanted for one in watch.samples if one.at_s >= stopped_s)
        finally:
            keda.run("scale", "deployment", "keda-operator", "--replicas=1")
        until(lambda: all(map(is_ready, keda.pods())), "KEDA", limit_s=120)
        outcome = calls.end(limit_s=180)
    note(f"KEDA stopped for 120 s: at least {least} workers; {outcome}")
    assert least >= 1
    assert (outcome.num_wrong, outcome.failures) == (0, ())
