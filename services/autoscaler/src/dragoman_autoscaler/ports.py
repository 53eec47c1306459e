# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the autoscaler needs from outside, besides names (dragoman_common.name_service): workers that tell their load.

Owns the protocols, the values that cross them and the failures they document. Adapter: worker_client.py.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLoad:
    """One worker's report.

    Attributes:
        pending_tokens: Of its calls that are not answered.
        queue_time_ms: How long a call that came now would wait there.
        tokens_per_s: Of the calls that it has answered in the last second or so.
        calls_per_s: That ended in that time; over 0 although nothing is pending where calls are short.
    """

    pending_tokens: float = 0.0
    queue_time_ms: float = 0.0
    tokens_per_s: float = 0.0
    calls_per_s: float = 0.0


class LoadSource(Protocol):
    """Workers."""

    def loads(self, address: str, *, server_name: str) -> AsyncGenerator[WorkerLoad, None]:
        """The reports of the worker at host:port, each as it comes.

        Args:
            address: host:port.
            server_name: The name that the address was found by: what its certificate is for.

        Raises:
            DragomanError: the worker is away, or ended the stream.
        """
        ...
