# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's own meters say what the books say, also after a restart, and leave a gap when a part is away."""

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from dragoman_common.errors import UnavailableError
from dragoman_events.memory import MemoryEventLog
from dragoman_events.ports import Message
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor import metrics
from dragoman_monitor.contracts import RULES
from dragoman_monitor.memory import MemoryMonitorStore


def collected(log, store):
    """(meter, topic) -> value."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    metrics.observe(provider.get_meter("t"), (PREDICTIONS, FEEDBACK), log=log, store=store)
    data = reader.get_metrics_data()
    provider.shutdown()
    return {
        (metric.name, point.attributes.get("topic")): point.value
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


@pytest.fixture
def log(world):
    log = MemoryEventLog()
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in (1, 1, 2)])
    log.write(PREDICTIONS, [Message(key=b"k", value=b"\xff")])
    log.write(FEEDBACK, [world.message(world.feedback(n)) for n in (1, 50, 51)])
    return log


def test_meters_say_lag_dead_letters_and_duplicates(world, log):
    store = MemoryMonitorStore(RULES)
    before = collected(log, store)
    assert before["dragoman.monitor.lag", PREDICTIONS] == 4
    assert before["dragoman.monitor.lag", FEEDBACK] == 3
    assert before["dragoman.monitor.dead_letters", None] == 0
    world.drain(log, store)
    assert collected(log, store) == {
        ("dragoman.monitor.lag", PREDICTIONS): 0,
        ("dragoman.monitor.lag", FEEDBACK): 0,
        ("dragoman.monitor.dead_letters", None): 1,
        ("dragoman.monitor.duplicates", None): 1,
        ("dragoman.monitor.expired_feedback", None): 0,
        ("dragoman.monitor.late_predictions", None): 0,
        ("dragoman.monitor.lost_events", None): 0,
        ("dragoman.monitor.unjoined_feedback", None): 2,
    }


def test_books_that_are_away_leave_a_gap(log):
    class Away(MemoryMonitorStore):
        def tallies(self):
            raise UnavailableError("planted")

        def offsets(self, topic):
            raise UnavailableError(f"planted: {topic}")

    assert collected(log, Away(RULES)) == {}
