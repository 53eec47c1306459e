# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The topics: names, partitions and lifetimes in one place.

A topic is a contract with consumers that import nothing of ours.

gateway  --PREDICTIONS, FEEDBACK-->  monitor
registry --MODELS-->  workers, gateways, you          launcher --JOBS-->  you
monitor  --ALERTS, DEAD_LETTERS-->  you

A log with one partition a topic (SQLite, memory) passes over the layouts, and keeps by rules of its own.
"""

from dataclasses import dataclass
from typing import Final

PREDICTIONS: Final = "dragoman.predictions"
FEEDBACK: Final = "dragoman.feedback"
MODELS: Final = "dragoman.models"
JOBS: Final = "dragoman.jobs"
ALERTS: Final = "dragoman.alerts"
DEAD_LETTERS: Final = "dragoman.deadletter"

TOPICS: Final = (PREDICTIONS, FEEDBACK, MODELS, JOBS, ALERTS, DEAD_LETTERS)

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLayout:
    """How a topic is laid out where it has partitions."""

    num_partitions: int
    """Also the most consumers of a group that have work. It never changes while events are kept: another number sends
    equal keys elsewhere, and order is lost."""
    retention_ms: int
    """How long an event is kept, read or not."""


PER_CALL: Final = TopicLayout(num_partitions=6, retention_ms=30 * DAY_MS)
"""Traffic of callers. Equal numbers, so that a call's prediction and its feedback have the same partition number."""
SLOW: Final = TopicLayout(num_partitions=1, retention_ms=90 * DAY_MS)
"""A few events a day, in one order."""

LAYOUTS: Final = {
    PREDICTIONS: PER_CALL,
    FEEDBACK: PER_CALL,
    MODELS: SLOW,
    JOBS: SLOW,
    ALERTS: SLOW,
    DEAD_LETTERS: SLOW,
}


def message_key(tenant: str, request_id: str) -> bytes:
    """The key of every event about one call, so that they share a partition and keep their order.

    Only equality of keys means something: read tenant and request id from the headers, never from the key.
    """
    return f"{tenant}/{request_id}".encode()
