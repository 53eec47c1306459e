# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a pool's state to the metrics that the HPA divides by their targets: the highest quotient is the answer.

    pending-tokens  / targetPendingTokens    workers that could hold what is pending, held calls included
    queue-time-ms   / targetQueueTimeMs      sum over the workers: more of them where calls wait too long
    work-percent    / 100 x targetUtilization  workers that what comes keeps busy: what scaling down stops at

The HPA's target is an average value, so each metric is a total over the pool. Blind, each is at least what keeps the
workers that there are: by the last state, or by the number of addresses.

Owns the numbers and their names. Knows neither KEDA's messages (servicer.py) nor where the state comes from (pool.py).
"""

from dragoman_autoscaler.capacity import Capacity
from dragoman_autoscaler.demand import Held
from dragoman_autoscaler.pool import PoolState, Sight
from dragoman_autoscaler.targets import Targets

PENDING = "pending-tokens"
QUEUE = "queue-time-ms"
WORK = "work-percent"
METRICS = (PENDING, QUEUE, WORK)

DRAIN_S = 60.0
LEAST_BUSY = 0.5
"""Both: what is pending asks for no more workers than would do it, and what comes, within DRAIN_S, LEAST_BUSY of the
time. A backlog is larger than all targets together by the time that the first new worker is up."""


def targets_by_metric(targets: Targets) -> dict[str, float]:
    """Return what one worker should have of each metric."""
    return {
        PENDING: targets.pending_tokens,
        QUEUE: targets.queue_time_ms,
        WORK: 100 * targets.utilization,
    }


def values_by_metric(state: PoolState, held: Held, targets: Targets, capacity: Capacity) -> dict[str, float]:
    """Return what the pool has of each metric.

    Args:
        state: Of the pool.
        held: At the gateways. It counts as pending; how long it has waited does not count as queue time, for it is
            the start of a worker that it waits for, and more workers start no faster.
        targets: Of the trigger.
        capacity: Of one worker. Where it is only the least that it can do, no part of it is left for bursts: that would
            ask for more workers whatever there are.
    """
    values = {PENDING: state.pending_tokens + held.tokens, QUEUE: state.queue_time_ms, WORK: 0.0}
    needed = state.arriving_tokens_per_s / capacity.tokens_per_s if capacity.tokens_per_s > 0 else 0.0
    if capacity.is_learned:
        most = (needed + values[PENDING] / DRAIN_S / capacity.tokens_per_s) / LEAST_BUSY
        values = {
            PENDING: min(values[PENDING], most * targets.pending_tokens),
            QUEUE: min(values[QUEUE], most * targets.queue_time_ms),
            WORK: 100 * needed,
        }
    else:
        values[WORK] = 100 * targets.utilization * needed
    if state.sight is Sight.BLIND:
        wanted = targets_by_metric(targets)
        values = {name: max(value, state.num_workers * wanted[name]) for name, value in values.items()}
    return values
