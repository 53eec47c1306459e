# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Rows and keys as both databases take them: many rows by one statement, many keys in one question."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from dragoman_monitor.arrays import arrays
from dragoman_monitor.prediction import RowKey

_MAX_KEYS: Final = 500
"""Most rows that one statement asks for by key."""


def is_sqlite(connection: Connection) -> bool:
    """Whether the database is a file."""
    return connection.dialect.name == "sqlite"


def insert_into(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that knows ON CONFLICT: the two dialects say it in the same words."""
    return sqlite.insert(table) if is_sqlite(connection) else postgresql.insert(table)


def put(
    connection: Connection, statement: postgresql.Insert | sqlite.Insert, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write rows by one statement: on Postgres it is one in fact, whose text is the same for any number of them."""
    if is_sqlite(connection):
        connection.execute(statement, rows)
        return
    columns = [statement.table.c[name] for name in rows[0]]
    given, values = arrays(columns, rows)
    connection.execute(statement.from_select(columns, select(*given.c)), values)


def key_of(table: Table) -> Any:
    """The primary key, as one value to compare."""
    return tuple_(*table.primary_key)


def row_key_of(table: Table) -> Any:
    """Tenant, request id and row, as one value to compare."""
    return tuple_(table.c.tenant, table.c.request_id, table.c.row)


def row_values(key: RowKey) -> dict[str, Any]:
    """A row's key by column."""
    return {"tenant": key.tenant, "request_id": key.request_id, "row": key.row}


def chunks(keys: Collection[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """The keys in order, in parts that fit into a statement."""
    ordered = sorted(keys)
    for start in range(0, len(ordered), _MAX_KEYS):
        yield ordered[start : start + _MAX_KEYS]
