# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The names of the topics: one place, because a topic is a contract with consumers that import nothing of ours.

gateway  --PREDICTIONS, FEEDBACK-->  monitor
registry --MODELS-->  workers, gateways, you          launcher --JOBS-->  you
monitor  --ALERTS, DEAD_LETTERS-->  you
"""

from typing import Final

PREDICTIONS: Final = "dragoman.predictions"
FEEDBACK: Final = "dragoman.feedback"
MODELS: Final = "dragoman.models"
JOBS: Final = "dragoman.jobs"
ALERTS: Final = "dragoman.alerts"
DEAD_LETTERS: Final = "dragoman.deadletter"

TOPICS: Final = (PREDICTIONS, FEEDBACK, MODELS, JOBS, ALERTS, DEAD_LETTERS)


def message_key(tenant: str, request_id: str) -> bytes:
    """The key of every event about one call, so that they share a partition and keep their order.

    Only equality of keys means something: read tenant and request id from the headers, never from the key.
    """
    return f"{tenant}/{request_id}".encode()
