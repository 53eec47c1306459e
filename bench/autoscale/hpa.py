# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The Horizontal Pod Autoscaler's arithmetic, as a model: average-value metrics, tolerance, windows, policies.

Source: kubernetes/kubernetes, pkg/controller/podautoscaler (replica_calculator.go: external metrics per pod;
horizontal.go: windows, then policies), and the autoscaling/v2 documentation of `behavior`. Deviations: every metric
answers, and pods are never unready by themselves.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

INFINITE = 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """At most so much change in a period: pods, or percent of what there was at its start."""

    period_s: float
    pods: int = 0
    percent: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """`spec.behavior`, and what the controller itself is told. The defaults are Kubernetes's."""

    sync_s: float = 15.0
    tolerance: float = 0.1
    up_window_s: float = 0.0
    down_window_s: float = 300.0
    up: tuple[Policy, ...] = (Policy(period_s=15, pods=4), Policy(period_s=15, percent=100))
    down: tuple[Policy, ...] = (Policy(period_s=15, percent=100),)


@dataclass(slots=True)
class Hpa:
    """One HPA. Its memory is its recommendations and its own changes."""

    behaviour: Behaviour
    min_replicas: int
    max_replicas: int
    recommendations: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now_s: float, replicas: int, values: Mapping[str, float], targets: Mapping[str, float]) -> int:
        """Return the replicas that there should be."""
        asked = max(self._asked(replicas, values[name], targets[name]) for name in targets)
        asked = min(max(asked, self.min_replicas), self.max_replicas)
        wanted = self._stabilised(now_s, replicas, asked)
        wanted = min(max(self._limited(now_s, replicas, wanted), self.min_replicas), self.max_replicas)
        if wanted != replicas:
            self.changes.append((now_s, wanted - replicas))
        return wanted

    def _asked(self, replicas: int, value: float, target: float) -> int:
        ratio = value / (target * replicas)
        return replicas if abs(1 - ratio) <= self.behaviour.tolerance else math.ceil(value / target)

    def _stabilised(self, now_s: float, replicas: int, asked: int) -> int:
        own = self.behaviour
        self.recommendations = [
            each for each in self.recommendations if now_s - each[0] < max(own.up_window_s, own.down_window_s)
        ]
        lowest = min([asked, *(each for at, each in self.recommendations if now_s - at < own.up_window_s)])
        highest = max([asked, *(each for at, each in self.recommendations if now_s - at < own.down_window_s)])
        self.recommendations.append((now_s, asked))
        return min(max(replicas, lowest), highest)

    def _limited(self, now_s: float, replicas: int, wanted: int) -> int:
        if wanted > replicas:
            limits = [self._limit(now_s, replicas, policy, sign=1) for policy in self.behaviour.up]
            return min(wanted, max(limits, default=INFINITE))
        if wanted < replicas:
            limits = [self._limit(now_s, replicas, policy, sign=-1) for policy in self.behaviour.down]
            return max(wanted, min(limits, default=0))
        return wanted

    def _limit(self, now_s: float, replicas: int, policy: Policy, *, sign: int) -> int:
        changed = sum(by for at, by in self.changes if now_s - at < policy.period_s and by * sign > 0)
        at_start = replicas - changed
        if policy.pods:
            return at_start + sign * policy.pods
        by_percent = at_start * (1 + sign * policy.percent / 100)
        return math.ceil(by_percent) if sign > 0 else math.floor(by_percent)
