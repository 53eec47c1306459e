# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""True labels for earlier predictions: checked in form only. Which prediction they belong to is the monitor's to find.

Feedback about another tenant's request id is accepted and never joins anything: its key holds the sender's own tenant.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dragoman_common.clock import Clock
from dragoman_common.errors import InvalidArgumentError
from dragoman_gateway.limits import Limits
from dragoman_gateway.policy import Principal
from dragoman_gateway.ports import Journal
from dragoman_gateway.record import FeedbackRecord

_REQUEST_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrueLabel:
    request_id: str
    row: int
    true_label: str


class FeedbackDesk:
    def __init__(self, journal: Journal, limits: Limits, clock: Clock) -> None:
        self._journal = journal
        self._limits = limits
        self._clock = clock

    async def accept(self, principal: Principal, items: Sequence[TrueLabel]) -> int:
        """Record labels, all or none; durable on return. Returns how many.

        Raises:
            InvalidArgumentError: names the item, the field and the limit.
            UnavailableError: nothing was recorded for sure; sending them again is harmless.
        """
        if not 1 <= len(items) <= self._limits.max_feedback_items:
            raise InvalidArgumentError(
                f"items: {len(items)} labels; send 1 to {self._limits.max_feedback_items} a call"
            )
        for place, item in enumerate(items):
            self._check(item, f"items[{place}]")
        now = self._clock.now()
        await self._journal.record(
            [
                FeedbackRecord(
                    tenant=principal.tenant,
                    subject=principal.subject,
                    request_id=item.request_id,
                    row=item.row,
                    true_label=item.true_label,
                    receive_time=now,
                )
                for item in items
            ]
        )
        return len(items)

    def _check(self, item: TrueLabel, place: str) -> None:
        if not _REQUEST_ID.fullmatch(item.request_id):
            raise InvalidArgumentError(f"{place}.request_id is not a request id that a prediction's answer named")
        if not 0 <= item.row < self._limits.max_rows:
            raise InvalidArgumentError(f"{place}.row is {item.row}; rows count from 0 to {self._limits.max_rows - 1}")
        size = len(item.true_label.encode())
        if not 1 <= size <= self._limits.max_label_bytes:
            raise InvalidArgumentError(f"{place}.true_label has {size} bytes; send 1 to {self._limits.max_label_bytes}")
        if not item.true_label.isprintable():
            raise InvalidArgumentError(
                f"{place}.true_label holds a character that cannot be printed; send a label's name"
            )
