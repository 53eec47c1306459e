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
    "monitor.dead_letters": DEAD_LETTERS,
    "monitor.duplicates": DUPLICATES,
    "monitor.expired_feedback": EXPIRED,
    "monitor.late_predictions": LATE,
    "monitor.lost_events": LOST,
}


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

    meter.create_observable_gauge("monitor.lag", [lags], unit="{event}", description="Events not in the books yet.")
    for meter_name, name in COUNTERS.items():
        meter.create_observable_counter(meter_name, [tally(name)])
    meter.create_observable_gauge("monitor.unjoined_feedback", [tally(UNJOINED)])


def lag(topic: str, *, log: EventLog, store: MonitorStore) -> int:
    """How many events of a topic are not in the books.

    Raises:
        UnavailableError: the log or the books are away.
    """
    # The ends are read after the offsets, so a lag is never below 0.
    offsets = store.offsets(topic)
    return sum(end - offsets.get(partition, 0) for partition, end in log.end_offsets(topic).items())
