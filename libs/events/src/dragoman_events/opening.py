# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a setting to an event log: the URL's scheme chooses the adapter."""

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from dragoman_common.errors import InvalidArgumentError
from dragoman_events.kafka_settings import KafkaSettings, brokers_of
from dragoman_events.ports import EventLog
from dragoman_events.retention import DAY_S, Retention
from dragoman_events.sqlite_log import SqliteEventLog


def open_log(url: str, kafka: KafkaSettings | None = None) -> EventLog:
    """Open the log that a URL names.

    Args:
        url: ``sqlite:///absolute/path/events.db``; the file is made if it is missing, its folder is not. Behind it
            ``?max_age_days=30&max_bytes=10737418240`` says what is kept, either or both; these are the defaults.
            Or ``kafka://host:port,host:port``: some brokers of a cluster; needs the extra ``kafka``.
        kafka: how to talk to the brokers; the defaults when None. Unused with a file.

    Raises:
        InvalidArgumentError: the scheme is unknown, the URL has parts that the scheme has no use for, or the settings
            lead to no usable client.
        UnavailableError: the file cannot be opened, or the brokers refuse this service. Brokers that are away are no
            error yet.
        FailedPreconditionError: the file is not an event log of this format, or Kafka's topics are missing or not as
            they must be.
    """
    parts = urlsplit(url)
    if parts.scheme == "kafka":
        return _kafka(brokers_of(url), kafka or KafkaSettings())
    if parts.scheme != "sqlite":
        raise InvalidArgumentError(
            f"The event log's URL has the scheme {parts.scheme!r}; this build opens sqlite:///absolute/path/events.db "
            "and kafka://host:port."
        )
    if parts.netloc or parts.fragment or not parts.path.strip("/"):
        raise InvalidArgumentError(
            "The event log's URL must be sqlite:///absolute/path/events.db: three slashes, a path, nothing after it "
            "but ?max_age_days= and max_bytes=."
        )
    return SqliteEventLog(Path("/" + unquote(parts.path).lstrip("/")), keep=_retention(parts.query))


def _kafka(brokers: str, settings: KafkaSettings) -> EventLog:
    try:
        # Late: a service on a file needs no Kafka client.
        from dragoman_events.kafka_log import KafkaEventLog
    except ImportError as error:
        raise InvalidArgumentError(
            "A kafka:// event log needs Kafka's client: install dragoman-events with its extra kafka."
        ) from error
    return KafkaEventLog(brokers, settings)


def _retention(query: str) -> Retention:
    given = parse_qsl(query, keep_blank_values=True)
    values = dict(given)
    if len(values) < len(given) or not values.keys() <= {"max_age_days", "max_bytes"}:
        raise InvalidArgumentError(
            "The event log's URL takes max_age_days= and max_bytes=, each once, and nothing else."
        )
    default = Retention()
    try:
        return Retention(
            max_age_s=float(values["max_age_days"]) * DAY_S if "max_age_days" in values else default.max_age_s,
            max_bytes=int(values.get("max_bytes", default.max_bytes)),
        )
    except ValueError as error:
        raise InvalidArgumentError(
            "The event log's URL: max_age_days is a number, max_bytes a whole number."
        ) from error
