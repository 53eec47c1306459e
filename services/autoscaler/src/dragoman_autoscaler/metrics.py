# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the autoscaler tells its operators, read when the exporter asks. Attribute: pool.

Owns the metrics' names.
"""

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Observation

from dragoman_autoscaler.demand import Held
from dragoman_autoscaler.pool import PoolState, Sight
from dragoman_autoscaler.pools import Pools
from dragoman_common import telemetry

_Read = Callable[[PoolState, Held], float]


def observe(pools: Pools) -> None:
    """Register every metric. Call once a process."""
    meter = telemetry.meter("dragoman.autoscaler")

    def each(read: _Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observations(_: CallbackOptions) -> Iterable[Observation]:
            for pool in pools:
                yield Observation(read(*pools.state(pool.name)), {"pool": pool.name})

        return observations

    def active(_: CallbackOptions) -> Iterable[Observation]:
        for pool in pools:
            yield Observation(int(pools.is_active(pool.name)), {"pool": pool.name})

    gauge = meter.create_observable_gauge
    gauges: dict[str, tuple[_Read, str]] = {
        "workers": (
            lambda state, _: state.num_workers,
            "Workers that tell their load; while none does, those that the pool last had",
        ),
        "pending_tokens": (lambda state, held: state.pending_tokens + held.tokens, "Tokens that wait, calls held too"),
        "tokens_per_s": (lambda state, _: state.tokens_per_s, "Tokens that the pool's workers finish in a second"),
        "held_calls": (lambda _, held: held.calls, "Calls that gateways hold because the pool has no ready worker"),
        "blind": (lambda state, _: int(state.sight is Sight.BLIND), "1 while no worker says what its load is"),
    }
    for name, (read, meaning) in gauges.items():
        gauge(f"dragoman.autoscaler.{name}", [each(read)], unit="1", description=meaning)
    gauge("dragoman.autoscaler.active", [active], unit="1", description="1 where the pool needs a worker")
