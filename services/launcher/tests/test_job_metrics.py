# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The launcher's numbers follow its jobs."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from dragoman_launcher.job_metrics import measure


def numbers(reader):
    metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    return {
        (metric.name.removeprefix("dragoman.launcher."), point.attributes.get("state")): point.value
        for metric in metrics
        for point in metric.data.data_points
    }


async def test_waiting_running_and_ended_jobs_are_counted(launch):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    launcher = await launch()
    measure(launcher.catalogue, launcher.queue, provider.get_meter("launcher"))
    first, _ = await launcher.submit("r1")
    await launcher.running(first)
    await launcher.submit("r2")

    before = numbers(reader)
    launcher.runner.succeed(first.id)
    await launcher.ended(first)

    assert before == {
        ("job_changes", "PENDING"): 2,
        ("job_changes", "RUNNING"): 1,
        ("jobs_pending", None): 1,
        ("jobs_running", None): 1,
        ("jobs_held", None): 0,
    }
    assert numbers(reader)["job_changes", "SUCCEEDED"] == 1
    provider.shutdown()


async def test_started_jobs_that_wait_for_the_cluster_are_counted_among_the_running_ones(launch, eventually):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    launcher = await launch(max_running=2)
    measure(launcher.catalogue, launcher.queue, provider.get_meter("launcher"))
    held, _ = await launcher.submit("r1")
    other, _ = await launcher.submit("r2")
    await launcher.running(other)

    launcher.runner.waits[held.id] = "no GPU"
    await eventually(lambda: numbers(reader)["jobs_held", None], "it is counted")

    assert numbers(reader)["jobs_held", None] == 1
    assert numbers(reader)["jobs_running", None] == 2
    launcher.runner.succeed(held.id)
    await launcher.ended(held)
    assert numbers(reader)["jobs_held", None] == 0
    provider.shutdown()
