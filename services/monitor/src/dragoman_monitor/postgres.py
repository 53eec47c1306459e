# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The books in a Postgres database: the cluster's. Any number of monitors may use it.

Every wait has an end: for a connection, for a lock, for a statement, and for a client that holds a transaction and does
nothing (a monitor that was paused must not stop the others).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dragoman_common.errors import (
    DataLossError,
    DragomanError,
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
)
from dragoman_common.loopback import is_loopback
from dragoman_common.settings import Secret
from dragoman_monitor.database import Database

MAX_CONNECTIONS: Final = 8
CONNECT_TIMEOUT_S: Final = 5
LOCK_TIMEOUT_MS: Final = 15_000
STATEMENT_TIMEOUT_MS: Final = 30_000
IDLE_TIMEOUT_MS: Final = 10_000
"""Longest pause inside a transaction; shorter than the wait for a lock, so that others outlast a paused client."""
TCP_TIMEOUT_MS: Final = 30_000

_OPTIONS: Final = ("sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "host")
_FORM: Final = "state_url must be postgresql://user@host:port/database?sslmode=verify-full&sslrootcert=file"

# SQLSTATE classes and codes; Source: PostgreSQL manual, appendix A.
_DAMAGED: Final = ("XX001", "XX002")
_TRANSIENT: Final = ("08", "25P03", "40", "53", "55", "57", "58")
_REFUSED: Final = ("28", "3D", "42501")


def postgres_database(url: str, password: Secret | None = None) -> Database:
    """Prepare the database; connections are opened when they are first needed.

    Args:
        url: postgresql://user@host:port/database, without a password.
        password: for the user; None where the server asks for none (a client certificate, a Unix socket).

    Raises:
        InvalidArgumentError: the URL is none of ours; the text does not repeat it.
    """
    address, where = _address(url, password)
    engine = create_engine(
        address,
        pool_size=MAX_CONNECTIONS,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": TCP_TIMEOUT_MS,
            "options": f"-c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout={STATEMENT_TIMEOUT_MS} "
            f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}",
        },
    )
    event.listen(engine, "after_cursor_execute", _watch_again)
    return Database(
        engine=engine,
        where=where,
        translated=partial(_translated, where),
        snapshot_options={"isolation_level": "REPEATABLE READ"},
    )


def _address(url: str, password: Secret | None) -> tuple[URL, str]:
    parts = urlsplit(url)
    try:
        port = parts.port or 5432
    except ValueError:
        raise InvalidArgumentError(f"{_FORM}: the port is no number") from None
    if parts.password is not None:
        raise InvalidArgumentError(f"{_FORM}: a password belongs in state_password or state_password_file")
    name = unquote(parts.path.lstrip("/"))
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme != "postgresql" or parts.fragment or not name or "/" in name or not parts.username:
        raise InvalidArgumentError(_FORM)
    if unknown := sorted(set(options) - set(_OPTIONS)):
        raise InvalidArgumentError(f"{_FORM}: it has no option {', '.join(unknown)[:80]}")
    host = parts.hostname or options.pop("host", "")
    if not host:
        raise InvalidArgumentError(f"{_FORM}: the host is missing")
    if not (host.startswith("/") or is_loopback(host)):
        # Whoever is between could otherwise read the rows and the password; weaker modes must be asked for by name.
        options.setdefault("sslmode", "verify-full")
    options.setdefault("application_name", "dragoman-monitor")
    address = URL.create(
        "postgresql+psycopg",
        username=unquote(parts.username),
        password=password.reveal() if password else None,
        host=host,
        port=port,
        database=name,
        query=options,
    )
    return address, f"{host}:{port}/{name}"


def _watch_again(connection: Connection, *rest: Any) -> None:
    """Many rows go in a pipeline, after which the server does not time an idle transaction until the next statement."""
    *_, is_many = rest
    if is_many:
        connection.exec_driver_sql("SELECT 1")


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError as error:
        raise UnavailableError(f"The monitor state {where}: all {MAX_CONNECTIONS} connections are in use.") from error
    except DBAPIError as error:
        known = _error(error, where)
        if known is None:
            raise
        raise known from error


def _error(error: DBAPIError, where: str) -> DragomanError | None:
    code = getattr(error.orig, "sqlstate", None) or ""
    # The driver's first line says what; what follows may repeat a row.
    reason = str(error.orig).partition("\n")[0][:200]
    if code.startswith(_DAMAGED):
        return DataLossError(f"The monitor state {where} is damaged: {reason}.")
    if code.startswith("53100"):
        return UnavailableError(
            f"The monitor state {where} cannot be written: its disk is full, and nothing of this was written. "
            "Free space, or keep less (retention); then the same call works again, without a restart."
        )
    if code.startswith(_REFUSED):
        return FailedPreconditionError(f"The monitor state {where} refuses this user: {reason}.")
    # No code: the connection could not be made, or broke.
    if not code or code.startswith(_TRANSIENT) or error.connection_invalidated:
        return UnavailableError(f"The monitor state {where} cannot be used now: {reason}.")
    return None
