# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How much each proof does: a little in `make test`, all of it in `make test-faults` (DRAGOMAN_TEST_FAULTS=full)."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    num_predictions: int
    """On the event path while the broker is killed; one a row of a call."""
    rows: tuple[int, ...]
    """How many a call has, drawn at random."""
    num_broker_kills: int
    away_s: float
    """How long the broker is away under load."""
    away_events_s: int
    """Predictions offered a second meanwhile."""
    pause_s: float
    """How long a monitor stands still, at least; longer than the session."""
    session_ms: int
    """After which Kafka takes a silent monitor for dead."""
    num_events: int
    """Written straight to the topics, where no gateway is part of the proof."""


SMALL = Sizes(
    num_predictions=5_000,
    rows=(1, 2),
    num_broker_kills=3,
    away_s=10,
    away_events_s=300,
    pause_s=1.5,
    session_ms=1_000,
    num_events=1_500,
)
FULL = Sizes(
    num_predictions=100_000,
    rows=(1, 2, 3, 4, 5, 6, 7),
    num_broker_kills=20,
    away_s=300,
    away_events_s=1_000,
    pause_s=30,
    session_ms=10_000,
    num_events=20_000,
)
IS_FULL = os.environ.get("DRAGOMAN_TEST_FAULTS") == "full"
SIZES = FULL if IS_FULL else SMALL
