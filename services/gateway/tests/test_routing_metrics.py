# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What operators read of workers, retries and held calls."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from dragoman_common import telemetry
from dragoman_gateway import routing_metrics
from dragoman_gateway.routing_counts import RoutingCounts


def test_counts_held_calls_and_ready_workers_are_told(world, make, monkeypatch):
    reader = InMemoryMetricReader()
    monkeypatch.setattr(telemetry, "meter", MeterProvider([reader]).get_meter)
    world.workers.update("b", world.workers._workers["worker-a"].report, pool="gpu")
    world.report("c", {make.key(): "LOADING"})
    counts = RoutingCounts(num_retried_away=3, num_retried_full=2, num_waited_full=1, num_denied=4, num_late=5)
    routing_metrics.observe(counts, world.held, world.workers)
    with world.held.held("t", "other", 7):
        told = {
            (metric.name.removeprefix("dragoman.gateway."), *point.attributes.values()): point.value
            for resource in reader.get_metrics_data().resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }
    assert told == {
        ("retries", "away"): 3,
        ("retries", "full"): 2,
        ("retries", "waited"): 1,
        ("retries_denied",): 4,
        ("ejections",): 0,
        ("late_calls",): 5,
        ("held_calls", "default"): 0,
        ("held_calls", "other"): 1,
        ("workers", "default"): 1,
        ("workers", "gpu"): 1,
    }
