# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Forgets old rows and labels that wait in vain, now and then, in a thread of its own.

    every interval: the books are at the ends of their topics -> store.forget(rows, labels older than ...)

While the books lag nothing is forgotten: books that are counted again from the log's start take old events, too.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dragoman_common.clock import Clock
from dragoman_common.errors import UnavailableError
from dragoman_events.ports import EventLog
from dragoman_monitor.ports import MonitorStore

logger = logging.getLogger(__name__)

DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """How long detail is kept; counters are kept for ever."""

    row_s: float = 30 * DAY_S
    """A prediction's row, and with it the label that joined it: until then repetitions are known, labels are joined."""
    waiting_label_s: float = 30 * DAY_S
    """A label whose prediction has not come."""
    interval_s: float = 600.0


class Retention:
    """``run`` belongs to one thread."""

    def __init__(
        self, topics: Sequence[str], *, log: EventLog, store: MonitorStore, clock: Clock, settings: RetentionSettings
    ) -> None:
        self._topics = topics
        self._log = log
        self._store = store
        self._clock = clock
        self._settings = settings

    def run(self, stop: threading.Event) -> None:
        """Forget until ``stop`` is set. Outages are waited out; anything else that goes wrong is raised."""
        while not stop.is_set():
            try:
                self.step()
            except UnavailableError:
                logger.warning("cannot forget old rows now", exc_info=True)
            stop.wait(self._settings.interval_s)

    def step(self) -> int:
        """Forget once; returns how many rows and labels went.

        Raises:
            UnavailableError: the log or the books are away.
        """
        if not self._is_up_to_date():
            return 0
        now_us = int(self._clock.now().timestamp() * 1_000_000)
        num_dropped = self._store.forget(
            predictions_before_us=now_us - int(self._settings.row_s * 1_000_000),
            labels_before_us=now_us - int(self._settings.waiting_label_s * 1_000_000),
        )
        if num_dropped:
            logger.info("old rows forgotten", extra={"count": num_dropped})
        return num_dropped

    def _is_up_to_date(self) -> bool:
        for topic in self._topics:
            ends = self._log.end_offsets(topic)
            offsets = self._store.offsets(topic)
            if any(offsets.get(partition, 0) < end for partition, end in ends.items()):
                return False
        return True
