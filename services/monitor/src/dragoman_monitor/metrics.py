# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's own meters, read from the books and the log whenever they are collected: a restart loses no count.

The numbers are of all tenants together: a meter per tenant has no bound.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from dragoman_common.errors import UnavailableError
from dragoman_events.ports import EventLog
from dragoman_monitor.join import DEAD_LETTERS, DUPLICATES, EXPIRED, LATE, LOST, UNJOINED
from dragoman_monitor.ports import MonitorStore

COUNTERS: Final = {
    "dragoman.monitor.dead_letters": (DEAD_LETTERS, "Events that could not be read"),
    "dragoman.monitor.duplicates": (DUPLICATES, "Events that were in the books already"),
    "dragoman.monitor.expired_feedback": (EXPIRED, "Labels whose prediction never came"),
    "dragoman.monitor.late_predictions": (LATE, "Predictions of a time whose rows were forgotten"),
    "dragoman.monitor.lost_events": (LOST, "Events that the log dropped before they were read"),
}
"""Meter -> the tally in the books, and what it counts."""


def observe(meter: Meter, topics: Sequence[str], *, log: EventLog, store: MonitorStore) -> None:
    """Make the meters. A part that is away leaves a gap in them."""

    def lags(_: CallbackOptions) -> Iterable[Observation]:
        try:
            return [Observation(lag(topic, log=log, store=store), {"topic": topic}) for topic in topics]
        except UnavailableError:
            return []

    def tally(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            try:
                return [Observation(store.tallies().get(name, 0))]
            except UnavailableError:
                return []

        return read

    gauge = meter.create_observable_gauge
    gauge("dragoman.monitor.lag", [lags], unit="{event}", description="Events not in the books yet")
    for meter_name, (name, meaning) in COUNTERS.items():
        meter.create_observable_counter(meter_name, [tally(name)], unit="1", description=meaning)
    gauge(
        "dragoman.monitor.unjoined_feedback",
        [tally(UNJOINED)],
        unit="1",
        description="Labels that wait for their prediction",
    )


def lag(topic: str, *, log: EventLog, store: MonitorStore) -> int:
    """How many events of a topic are not in the books.

    Raises:
        UnavailableError: the log or the books are away.
    """
    # The ends are read after the offsets, so a lag is never below 0.
    offsets = store.offsets(topic)
    return sum(end - offsets.get(partition, 0) for partition, end in log.end_offsets(topic).items())
