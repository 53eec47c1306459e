# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From state_url to a database: sqlite:///absolute/path/monitor.db, or postgresql://user@host/database."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.settings import Secret
from dragoman_monitor.database import Database
from dragoman_monitor.sqlite import sqlite_database


def open_database(url: str, *, password: Secret | None = None) -> Database:
    """Open the database that a URL names.

    Raises:
        InvalidArgumentError: the URL is none of the two forms; the text does not repeat it.
    """
    parts = urlsplit(url)
    if parts.scheme == "postgresql":
        # Late: a laptop's monitor needs no driver for it.
        from dragoman_monitor.postgres import postgres_database

        return postgres_database(url, password)
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment or not parts.path.strip("/"):
        raise InvalidArgumentError(
            "state_url must be sqlite:///absolute/path/monitor.db, or "
            "postgresql://user@host:port/database?sslmode=verify-full&sslrootcert=file"
        )
    return sqlite_database(Path("/" + unquote(parts.path).lstrip("/")))


def read_password(text: Secret | None, file: Path | None) -> Secret | None:
    """The password from either setting.

    Raises:
        InvalidArgumentError: both are set, or the file cannot be read.
    """
    if text is not None and file is not None:
        raise InvalidArgumentError("set state_password or state_password_file, not both")
    if file is None:
        return text
    try:
        return Secret(file.read_text(encoding="utf-8").rstrip("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"state_password_file cannot be read: {type(error).__name__}") from None
