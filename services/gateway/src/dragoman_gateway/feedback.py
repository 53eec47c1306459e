# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""True labels for earlier predictions: checked against the prediction where this process knows it (recent.py).

    items -> form -> prediction known? -> may the caller ask its model? row and label of it? -> journal

What is not known here, another gateway's answer or one before a restart, is accepted: the monitor joins it. Feedback
about another tenant's request id is accepted and never joins anything: its key holds the sender's own tenant.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dragoman_common.clock import Clock
from dragoman_common.errors import InvalidArgumentError
from dragoman_gateway.limits import Limits
from dragoman_gateway.policy import Principal, authorise
from dragoman_gateway.ports import Journal
from dragoman_gateway.recent import RecentCall, RecentCalls
from dragoman_gateway.record import FeedbackRecord

_REQUEST_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrueLabel:
    request_id: str
    row: int
    true_label: str


class FeedbackDesk:
    def __init__(self, journal: Journal, recent: RecentCalls, limits: Limits, clock: Clock) -> None:
        self._journal = journal
        self._recent = recent
        self._limits = limits
        self._clock = clock

    async def accept(self, principal: Principal, items: Sequence[TrueLabel]) -> int:
        """Record labels, all or none; durable on return. Returns how many.

        Raises:
            InvalidArgumentError: names the item, the field and the limit; also for a row that the prediction does not
                have, or a label that its model does not know.
            PermissionDeniedError: the prediction is of a model that the caller may not ask.
            UnavailableError: nothing was recorded for sure; sending them again is harmless.
        """
        if not 1 <= len(items) <= self._limits.max_feedback_items:
            raise InvalidArgumentError(
                f"items: {len(items)} labels; send 1 to {self._limits.max_feedback_items} a call"
            )
        for place, item in enumerate(items):
            self._check(item, f"items[{place}]")
        known = [self._recent.find(principal.tenant, item.request_id) for item in items]
        for call in known:
            if call is not None:
                authorise(principal, call.model)
        _check_known(items, known)
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
        size = len(item.true_label)
        if not 1 <= size <= self._limits.max_label_chars:
            raise InvalidArgumentError(
                f"{place}.true_label has {size} characters; send 1 to {self._limits.max_label_chars}"
            )
        if not item.true_label.isprintable():
            raise InvalidArgumentError(
                f"{place}.true_label holds a character that cannot be printed; send a label's name"
            )


def _check_known(items: Sequence[TrueLabel], known: Sequence[RecentCall | None]) -> None:
    # One set for each version that the items are about, however many items and labels there are.
    label_sets: dict[int, frozenset[str]] = {}
    for place, (item, call) in enumerate(zip(items, known, strict=True)):
        if call is None:
            continue
        if item.row >= call.num_rows:
            raise InvalidArgumentError(
                f"items[{place}].row is {item.row}; that request had {call.num_rows} rows, counted from 0"
            )
        labels = label_sets.setdefault(id(call.labels), frozenset())
        if not labels:
            labels = label_sets[id(call.labels)] = frozenset(call.labels)
        if item.true_label not in labels:
            raise InvalidArgumentError(
                f"items[{place}].true_label {item.true_label!r} is no label of {call.model}; ListModels names them"
            )
