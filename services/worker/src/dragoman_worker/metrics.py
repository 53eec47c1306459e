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

    meter.create_observable_gauge("worker.waiting_rows", [each(lambda engine: engine.num_waiting)])
    meter.create_observable_gauge("worker.running_rows", [each(lambda engine: engine.num_running)])
    meter.create_observable_gauge("worker.in_flight_tokens", [each(lambda engine: engine.in_flight_tokens)])
    for field in fields(EngineCounters):
        name = field.name
        read = each(lambda engine, name=name: getattr(engine.counters, name))  # type: ignore[misc]
        meter.create_observable_counter(f"worker.{name.removeprefix('num_')}", [read])

    def failed(_: CallbackOptions) -> Iterable[Observation]:
        for held in placement.held():
            yield Observation(
                int(held.state is State.FAILED), attributes(held) | {"reason": held.reason.partition(":")[0]}
            )

    meter.create_observable_gauge("worker.failed_versions", [failed])
