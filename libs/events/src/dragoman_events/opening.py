# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a setting to an event log: the URL's scheme chooses the adapter."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from dragoman_common.errors import InvalidArgumentError
from dragoman_events.ports import EventLog
from dragoman_events.sqlite_log import SqliteEventLog


def open_log(url: str) -> EventLog:
    """Open the log that a URL names.

    Args:
        url: ``sqlite:///absolute/path/events.db``; the file is made if it is missing, its folder is not.

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
    if parts.netloc or parts.query or parts.fragment or not parts.path.strip("/"):
        raise InvalidArgumentError(
            "The event log's URL must be sqlite:///absolute/path/events.db: three slashes, a path, nothing after it."
        )
    return SqliteEventLog(Path("/" + unquote(parts.path).lstrip("/")))
