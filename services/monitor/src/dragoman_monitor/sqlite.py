# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The books in one SQLite file: the laptop's. Several processes may open it.

Commits are not synced one by one: what a power cut takes is the last batches, whole, rows and offset together, and the
log still has them (sqlite_file.connect).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError

from dragoman_events.sqlite_file import FileFormat, connect, translated
from dragoman_monitor.database import WRITES, Database

MAX_CONNECTIONS: Final = 8

# Alembic makes the tables. Files from before Alembic are told by their header, and brought to its second step.
FORMAT: Final = FileFormat(
    name="monitor state",
    application_id=0x44524D31,
    version=2,
    schema=(),
    upgrades={
        1: (
            "CREATE INDEX predictions_by_age ON predictions (start_us)",
            "CREATE INDEX labels_by_age ON labels (receive_time_us)",
            "CREATE TABLE forgotten (before_us INTEGER NOT NULL)",
        )
    },
)


def sqlite_database(path: Path) -> Database:
    """Open the file; it is made, readable by its owner only, when it is first used.

    Args:
        path: the file, in a folder that exists.
    """
    engine = create_engine(
        "sqlite+pysqlite://",
        creator=partial(connect, path, FORMAT, synchronous="NORMAL"),
        poolclass=QueuePool,
        pool_size=MAX_CONNECTIONS,
        max_overflow=0,
    )
    event.listen(engine, "begin", _begin)
    return Database(engine=engine, where=str(path), translated=partial(_translated, path))


def _begin(connection: Connection) -> None:
    # The driver is in autocommit mode: by itself it would begin too late for a transaction that reads and then writes.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    with translated(FORMAT.name, path):
        try:
            yield
        except DBAPIError as error:
            if error.orig is None:
                raise
            raise error.orig from error
