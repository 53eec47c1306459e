# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor can be told, from DRAGOMAN_MONITOR_* (see README.md)."""

from dataclasses import dataclass, field
from pathlib import Path

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.server import ServerSettings
from dragoman_common.settings import Secret
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_monitor.consumer import ConsumerSettings
from dragoman_monitor.counts import CountingRules
from dragoman_monitor.database import Database
from dragoman_monitor.opening import open_database, read_password
from dragoman_monitor.retention import DAY_S, RetentionSettings
from dragoman_monitor.sketch import Sketch

PREFIX = "DRAGOMAN_MONITOR_"
MAX_DAYS = 36_500


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    server: ServerSettings
    events_url: str
    """The event log: sqlite:///absolute/path/events.db, or kafka://host:port,host:port."""
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    """How to talk to the brokers of a kafka:// log."""
    state_url: str
    """The monitor's books: sqlite:///absolute/path/monitor.db, or postgresql://user@host:port/database?sslmode=..."""
    state_password: Secret | None = None
    """Of the Postgres user."""
    state_password_file: Path | None = None
    """Instead of state_password."""
    window_s: int = 60
    """A window's length. Shorter shows more and keeps more rows."""
    coverage_threshold: float = 0.9
    """The top score from which a row counts as covered."""
    latency_relative_error: float = 0.01
    """Of the latency quantiles; half the error doubles the counters."""
    max_batch_records: int = 2_000
    """Most events per transaction: more cost less each and show later."""
    poll_timeout_ms: int = 500
    """Longest wait for an event, and so for a stop."""
    max_report_windows: int = 1_000
    """Most windows in one report: a reply must fit into a message."""

    row_days: float = 30.0
    """How long a row's detail is kept; longer knows repetitions and joins labels for longer, and takes more disk."""
    waiting_feedback_days: float = 30.0
    """How long feedback waits for its prediction."""

    def __post_init__(self) -> None:
        if not 0 < self.latency_relative_error < 1:
            raise ValueError("latency_relative_error must lie between 0 and 1")
        self.rules()
        try:
            self.database().close()
        except InvalidArgumentError as error:
            raise ValueError(error.message) from None
        for name in ("max_batch_records", "poll_timeout_ms", "max_report_windows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name in ("row_days", "waiting_feedback_days"):
            if not 0 < getattr(self, name) <= MAX_DAYS:
                raise ValueError(f"{name} must be more than 0, and at most {MAX_DAYS}")

    def rules(self) -> CountingRules:
        """How events are counted."""
        return CountingRules(
            window_s=self.window_s,
            coverage_threshold=self.coverage_threshold,
            sketch=Sketch(self.latency_relative_error),
        )

    def consumer(self) -> ConsumerSettings:
        """How topics are read."""
        return ConsumerSettings(max_records=self.max_batch_records, poll_timeout_s=self.poll_timeout_ms / 1e3)

    def retention(self) -> RetentionSettings:
        """How long detail is kept."""
        return RetentionSettings(row_s=self.row_days * DAY_S, waiting_label_s=self.waiting_feedback_days * DAY_S)

    def database(self) -> Database:
        """Where the books are; nothing is connected yet.

        Raises:
            InvalidArgumentError: the URL or the password's source is none; never with a secret's text.
        """
        return open_database(self.state_url, password=read_password(self.state_password, self.state_password_file))
