# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a setting to an event log: the URL's scheme chooses the adapter."""

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from dragoman_common.errors import InvalidArgumentError
from dragoman_events.ports import EventLog
from dragoman_events.retention import DAY_S, Retention
from dragoman_events.sqlite_log import SqliteEventLog


def open_log(url: str) -> EventLog:
    """Open the log that a URL names.

    Args:
        url: ``sqlite:///absolute/path/events.db``; the file is made if it is missing, its folder is not. Behind it
            ``?max_age_days=30&max_bytes=10737418240`` says what is kept, either or both; these are the defaults.

    Raises:
        InvalidArgumentError: the scheme is unknown, or the URL has parts that the scheme has no use for.
        UnavailableError: the log cannot be opened.
        FailedPreconditionError: the file is not an event log of this format.
    """
    parts = urlsplit(url)
    if parts.scheme != "sqlite":
        raise InvalidArgumentError(
            f"The event log's URL has the scheme {parts.scheme!r}; this build opens sqlite:///absolute/path/events.db."
        )
    if parts.netloc or parts.fragment or not parts.path.strip("/"):
        raise InvalidArgumentError(
            "The event log's URL must be sqlite:///absolute/path/events.db: three slashes, a path, nothing after it "
            "but ?max_age_days= and max_bytes=."
        )
    return SqliteEventLog(Path("/" + unquote(parts.path).lstrip("/")), keep=_retention(parts.query))


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
