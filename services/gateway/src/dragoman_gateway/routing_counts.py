# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What happened to attempts, counted since the start; routing_metrics.py tells it to operators."""

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class RoutingCounts:
    """Retries by why, what was denied for lack of budget, ejected workers, and calls refused for lack of time."""

    num_retried_away: int = 0
    num_retried_full: int = 0
    num_waited_full: int = 0
    num_denied: int = 0
    num_ejections: int = 0
    num_late: int = 0
