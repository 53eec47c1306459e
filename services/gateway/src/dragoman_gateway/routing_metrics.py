# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the gateway tells its operators of workers, retries and held calls, read when the exporter asks.

Owns the metrics' names; nothing of it is on a call's path.
"""

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Observation

from dragoman_common import telemetry
from dragoman_gateway.held import HeldCalls
from dragoman_gateway.routing_counts import RoutingCounts
from dragoman_gateway.workers import WorkerTable

_Read = Callable[[CallbackOptions], Iterable[Observation]]


def observe(counts: RoutingCounts, held: HeldCalls, table: WorkerTable) -> None:
    """Register every metric. Call once a process."""
    meter = telemetry.meter("dragoman.gateway")

    def one(read: Callable[[], int]) -> _Read:
        return lambda _: (Observation(read()),)

    meter.create_observable_counter(
        "dragoman.gateway.retries",
        callbacks=[
            lambda _: (
                Observation(counts.num_retried_away, {"reason": "away"}),
                Observation(counts.num_retried_full, {"reason": "full"}),
                Observation(counts.num_waited_full, {"reason": "waited"}),
            )
        ],
        unit="1",
        description="Attempts after the first: a worker was away, was full, or room was waited for",
    )
    meter.create_observable_counter(
        "dragoman.gateway.retries_denied",
        callbacks=[one(lambda: counts.num_denied)],
        unit="1",
        description="Calls that failed because a tenth of all calls had been tried again already",
    )
    meter.create_observable_counter(
        "dragoman.gateway.ejections",
        callbacks=[one(lambda: counts.num_ejections)],
        unit="1",
        description="Times that a worker was passed over because it failed more than the others",
    )
    meter.create_observable_counter(
        "dragoman.gateway.late_calls",
        callbacks=[one(lambda: counts.num_late)],
        unit="1",
        description="Calls refused at once because their time did not cover the queue",
    )
    meter.create_observable_gauge(
        "dragoman.gateway.held_calls",
        callbacks=[lambda _: [Observation(each.held_calls, {"pool": each.pool}) for each in held.demand()]],
        unit="1",
        description="Calls that wait here for a worker, by pool",
    )
    meter.create_observable_gauge(
        "dragoman.gateway.workers",
        callbacks=[lambda _: [Observation(count, {"pool": pool}) for pool, count in table.num_ready().items()]],
        unit="1",
        description="Workers that are ready for something, by pool",
    )
