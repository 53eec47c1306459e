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


def observe(pools: Pools) -> None:
    """Register every metric. Call once a process."""
    meter = telemetry.meter("dragoman.autoscaler")

    def each(read: Callable[[PoolState, Held], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observations(_: CallbackOptions) -> Iterable[Observation]:
            for pool in pools:
                yield Observation(read(*pools.state(pool.name)), {"pool": pool.name})

        return observations

    def active(_: CallbackOptions) -> Iterable[Observation]:
        for pool in pools:
            yield Observation(int(pools.is_active(pool.name)), {"pool": pool.name})

    gauge = meter.create_observable_gauge
    gauge("autoscaler.workers", [each(lambda state, _: state.num_workers)])
    gauge("autoscaler.pending_tokens", [each(lambda state, held: state.pending_tokens + held.tokens)])
    gauge("autoscaler.tokens_per_s", [each(lambda state, _: state.tokens_per_s)])
    gauge("autoscaler.held_calls", [each(lambda _, held: held.calls)])
    gauge("autoscaler.blind", [each(lambda state, _: int(state.sight is Sight.BLIND))])
    gauge("autoscaler.active", [active])
