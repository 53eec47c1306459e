# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics say what the engines counted."""

import asyncio

import numpy as np
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from dragoman_common import telemetry
from dragoman_worker import metrics


async def test_metrics_are_what_the_engine_counted(world, follow, linear_package, monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr(telemetry, "meter", provider.get_meter)
    world.point(world.publish(1, linear_package(1)))
    follower = await follow()
    await follower.until_states({1: "READY"})
    metrics.observe(follower.placement, pool="small")
    engine = follower.placement.find("local", "r8", 1).serving_engine()
    rows = [np.ones(n, dtype=np.int32) for n in (1, 3)]
    await engine.score("local", rows, asyncio.get_running_loop().time() + 10)
    points = {
        metric.name: metric.data.data_points[0]
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert {point.attributes["pool"] for point in points.values()} == {"small"}
    found = {name: point.value for name, point in points.items()}
    provider.shutdown()
    assert found["dragoman.worker.rows"] == 2
    assert found["dragoman.worker.tokens"] == 4
    assert found["dragoman.worker.padded_tokens"] == 6
    assert (
        found["dragoman.worker.waiting_rows"]
        == found["dragoman.worker.failed_versions"]
        == found["dragoman.worker.process_ends"]
        == 0
    )
