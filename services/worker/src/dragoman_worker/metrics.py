# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the worker tells its operators, read from the engines when the exporter asks: nothing on a call's path.

Owns the metrics' names. Attributes: pool, tenant, model, version.
"""

from collections.abc import Callable, Iterable
from dataclasses import fields

from opentelemetry.metrics import CallbackOptions, Observation

from dragoman_common import telemetry
from dragoman_worker.engine import Engine
from dragoman_worker.engine_counters import EngineCounters
from dragoman_worker.held_version import HeldVersion, State
from dragoman_worker.placement import Placement

_COUNTED = {
    "num_batches": "Batches sent to the model process",
    "num_rows": "Rows in those batches",
    "num_tokens": "Tokens of those rows, without padding",
    "num_padded_tokens": "Tokens of those rows, with padding",
    "num_refused": "Calls refused because the queue was full",
    "num_expired": "Calls dropped before they began, for lack of time",
    "num_process_ends": "Times that the model process died, or was ended as hung",
    "num_quarantined": "Inputs that are refused since they were in the process at two crashes",
}
"""What each of EngineCounters means to an operator."""


def observe(placement: Placement, *, pool: str) -> None:
    """Register every metric. Call once a process."""
    meter = telemetry.meter("dragoman.worker")

    def attributes(held: HeldVersion) -> dict[str, str]:
        ref = held.ref
        return {"pool": pool, "tenant": ref.tenant, "model": ref.model, "version": str(ref.number)}

    def each(read: Callable[[Engine], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observations(_: CallbackOptions) -> Iterable[Observation]:
            for held in placement.held():
                if held.engine is not None:
                    yield Observation(read(held.engine), attributes(held))

        return observations

    gauge = meter.create_observable_gauge
    gauge(
        "dragoman.worker.waiting_rows",
        [each(lambda engine: engine.num_waiting)],
        unit="1",
        description="Rows that wait for a batch",
    )
    gauge(
        "dragoman.worker.running_rows",
        [each(lambda engine: engine.num_running)],
        unit="1",
        description="Rows in the model process",
    )
    gauge(
        "dragoman.worker.in_flight_tokens",
        [each(lambda engine: engine.in_flight_tokens)],
        unit="1",
        description="Tokens of the rows that wait or run",
    )
    for field in fields(EngineCounters):
        name = field.name
        read = each(lambda engine, name=name: getattr(engine.counters, name))  # type: ignore[misc]
        told = f"dragoman.worker.{name.removeprefix('num_')}"
        meter.create_observable_counter(told, [read], unit="1", description=_COUNTED[name])

    def failed(_: CallbackOptions) -> Iterable[Observation]:
        for held in placement.held():
            yield Observation(
                int(held.state is State.FAILED), attributes(held) | {"reason": held.reason.partition(":")[0]}
            )

    gauge(
        "dragoman.worker.failed_versions",
        [failed],
        unit="1",
        description="1 where a version cannot be served, with the code of the reason",
    )
