# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's books in Postgres: reachable, lets us in, migrated, writable, and its clock. Reads only."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dragoman_client.doctor.deployment import Deployment
from dragoman_client.doctor.finding import Finding, Findings, in_threads
from dragoman_client.local.parts import PartsSettings
from dragoman_common.loopback import is_loopback

if TYPE_CHECKING:
    import psycopg

CONNECT_S = 5
_HERE = Findings("books")
_STEP_TABLE = "alembic_version"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = ANY (current_schemas(false))"
_CLOSED = """SELECT tablename FROM pg_tables WHERE schemaname = ANY (current_schemas(false))
    AND NOT has_table_privilege(quote_ident(schemaname) || '.' || quote_ident(tablename), %s)"""
_STEPS = "SELECT version_num FROM alembic_version"


async def check_books(deployment: Deployment) -> AsyncIterator[Finding]:
    """Ask the database; blocking calls run in a thread."""
    if deployment.parts is None:
        yield _HERE.skipped("reachable", "the monitor's books are a file of the home")
        return
    try:
        import psycopg  # noqa: F401 - only whether it is there
    except ImportError:
        yield _HERE.skipped("reachable", "needs dragoman-client with its extra doctor")
        return
    async for finding in in_threads(_look(deployment.parts)):
        yield finding


def _look(parts: PartsSettings) -> Iterator[Finding]:
    import psycopg

    at = urlsplit(parts.state_url)
    where = f"{at.hostname}:{at.port or 5432}{at.path}"
    try:
        password = (
            parts.state_password_file.read_text(encoding="utf-8").rstrip("\n") if parts.state_password_file else None
        )
    except (OSError, UnicodeDecodeError) as error:
        advice = "put the password there, readable by its owner alone"
        yield _HERE.fail("credentials", f"{parts.state_password_file} cannot be read ({type(error).__name__})", advice)
        return
    # As the monitor itself: whoever is between could otherwise read the password.
    url = parts.state_url
    if "sslmode=" not in at.query and not (at.hostname is None or is_loopback(at.hostname)):
        url += f"{'&' if at.query else '?'}sslmode=verify-full"
    try:
        with psycopg.connect(url, password=password, connect_timeout=CONNECT_S, autocommit=True) as connection:
            connection.execute("SET statement_timeout = 5000")
            yield _HERE.ok("reachable", f"{where} answers")
            yield from _books(connection)
            yield _clock(connection)
    except psycopg.Error as error:
        yield _refusal(error, where)


def _refusal(error: "psycopg.Error", where: str) -> Finding:
    # The driver's last line says what; it names the user, never the password.
    said = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:200]
    if error.sqlstate is None and "authentication failed" not in said and "does not exist" not in said:
        advice = (
            "start Postgres, or correct DRAGOMAN_UP_STATE_URL; until then the monitor counts nothing, and loses nothing"
        )
        return _HERE.fail("reachable", f"{where} does not answer: {said}", advice)
    return _HERE.fail(
        "credentials",
        f"{where} refuses us: {said}",
        "correct DRAGOMAN_UP_STATE_URL and DRAGOMAN_UP_STATE_PASSWORD_FILE",
    )


def _books(connection: "psycopg.Connection") -> Iterator[Finding]:
    tables = {name for (name,) in connection.execute(_TABLES)}
    if _STEP_TABLE not in tables:
        yield _HERE.fail("migrations", "the monitor's tables are not there", "start the monitor once: it makes them")
        return
    lacks = [
        f"{right} on {name}"
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
        for (name,) in connection.execute(_CLOSED, (right,))
    ]
    [(may_create,)] = connection.execute("SELECT has_schema_privilege(current_schema(), 'CREATE')").fetchall()
    if not may_create:
        lacks.append("CREATE on the schema, which migrations need")
    if lacks:
        advice = "grant them, or let the monitor's user own the tables"
        yield _HERE.fail("rights", f"this user lacks rights: {', '.join(lacks)}", advice)
    else:
        yield _HERE.ok("rights", f"this user may read and write all {len(tables)} tables, and migrate them")
    if f"SELECT on {_STEP_TABLE}" not in lacks:
        steps = sorted(str(step) for (step,) in connection.execute(_STEPS))
        yield _HERE.ok("migrations", f"at step {', '.join(steps)}")


def _clock(connection: "psycopg.Connection") -> Finding:
    begin_s = time.time()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    end_s = time.time()
    stamp_s = float(row[0]) if row else begin_s
    return _HERE.clock(min(stamp_s - begin_s, 0.0) + max(stamp_s - end_s, 0.0))
