# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Tells people about the spool: how much waits, that the log is away, and above all that there is no room.

Each state is logged once when it begins and once when it ends; the metrics say it for as long as it lasts.
"""

import logging

from dragoman_common import telemetry

_logger = logging.getLogger(__name__)
_meter = telemetry.meter("dragoman.gateway")
_waiting = _meter.create_gauge("dragoman.gateway.spool_events", unit="1", description="Events waiting for the log")
_full = _meter.create_gauge("dragoman.gateway.spool_full", unit="1", description="1 while the spool has no room")
_away = _meter.create_gauge("dragoman.gateway.event_log_away", unit="1", description="1 while events are not taken")
_refused = _meter.create_counter(
    "dragoman.gateway.spool_refused_events", unit="1", description="Events that the spool had no room for"
)
_unusable = _meter.create_counter(
    "dragoman.gateway.unusable_events", unit="1", description="Events that the log will never take, dropped"
)
_CLEARED_SHARE = 0.9
"""Of the spool: below it the alarm ends, so that it does not flicker at the edge."""


class SpoolAlarm:
    """One spool's, of at most `max_events`."""

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self.is_full = False
        self.is_away = False

    def waiting(self, num_events: int) -> None:
        """So many events wait now."""
        _waiting.set(num_events)
        if self.is_full and num_events < self._max_events * _CLEARED_SHARE:
            self.is_full = False
            _full.set(0)
            _logger.warning("the event spool has room again", extra={"num_events": num_events})

    def refused(self, num_events: int) -> None:
        """The spool had no room for so many."""
        _refused.add(num_events)
        if not self.is_full:
            self.is_full = True
            _full.set(1)
            _logger.error(
                "the event spool is full: calls are refused until the event log takes events again",
                extra={"max_events": self._max_events},
            )

    def log_is_away(self, reason: str) -> None:
        """The event log does not take events; they go to the spool."""
        if not self.is_away:
            self.is_away = True
            _away.set(1)
            _logger.error("the event log is away; events wait in the spool", extra={"reason": reason})

    def log_is_back(self) -> None:
        """The event log takes events."""
        if self.is_away:
            self.is_away = False
            _away.set(0)
            _logger.warning("the event log takes events again")

    def unusable(self, event_id: str, reason: str) -> None:
        """The log will never take this event: it is dropped, or nothing behind it would ever get there."""
        _unusable.add(1)
        _logger.error("event dropped: the event log refuses it", extra={"event_id": event_id, "reason": reason})
