# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What this process answered lately: enough to check feedback against it. In memory, bounded, the oldest leave first.

Not the truth about predictions, which is the event log's: another gateway's answers, and those before a restart, are
not in here, and feedback on them is the monitor's to join.
"""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RecentCall:
    """One answered call: the model that answered, its labels (shared with the version's own), and its rows."""

    model: str
    labels: tuple[str, ...]
    num_rows: int


class RecentCalls:
    """By tenant and request id: a tenant never finds another's."""

    def __init__(self, *, max_calls: int) -> None:
        """Remember nothing yet. Each of `max_calls` takes about 300 bytes."""
        self._max_calls = max_calls
        self._calls: OrderedDict[tuple[str, str], RecentCall] = OrderedDict()

    def remember(self, tenant: str, request_id: str, call: RecentCall) -> None:
        self._calls[tenant, request_id] = call
        if len(self._calls) > self._max_calls:
            self._calls.popitem(last=False)

    def find(self, tenant: str, request_id: str) -> RecentCall | None:
        """The call, or None where this process does not know it (any more)."""
        return self._calls.get((tenant, request_id))
