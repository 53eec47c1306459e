# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Wire messages to the domain's values. Pure.

Owns which entries of an ORCA report are read. A worker that leaves one out counts as 0 in it; NaN and negative numbers
do, too: a worker that has gone wrong must not scale a pool.
"""

import math
from collections.abc import Iterable

from dragoman.autoscaler.v1 import autoscaler_pb2 as pb
from dragoman_autoscaler.demand import Held
from dragoman_autoscaler.ports import WorkerLoad
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport


def load_from_pb(report: OrcaLoadReport) -> WorkerLoad:
    """Read a worker's report."""
    named = report.named_metrics
    return WorkerLoad(
        pending_tokens=_amount(named.get("pending_tokens", 0.0)),
        queue_time_ms=_amount(named.get("queue_time_ms", 0.0)),
        tokens_per_s=_amount(named.get("tokens_per_s", 0.0)),
        calls_per_s=_amount(report.rps_fractional),
    )


def held_from_pb(pools: Iterable[pb.PoolDemand]) -> dict[str, Held]:
    """Read a gateway's report; of a pool that it names twice, the last entry counts."""
    return {
        each.pool: Held(
            calls=each.held_calls,
            tokens=each.held_tokens,
            oldest_wait_s=each.oldest_wait.ToNanoseconds() / 1e9,
        )
        for each in pools
    }


def _amount(number: float) -> float:
    return number if math.isfinite(number) and number > 0 else 0.0
