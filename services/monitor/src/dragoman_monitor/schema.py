# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Brings a database's tables to what this build needs: Alembic's steps, those that are missing, at every start.

**Two builds at a time.** A step only adds (a table, a column with a default, an index), so the build before goes on
reading and writing while the next one's steps run, and may start again after them. Step names begin with a generation,
`m1_`: an unknown step of the same generation was made by a later build and is fine; another generation is refused.
"""

import logging
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from dragoman_common.errors import FailedPreconditionError
from dragoman_monitor.database import Database

logger = logging.getLogger(__name__)
# It tells at every start how it works; what it did is told below.
logging.getLogger("alembic").setLevel(logging.WARNING)

STEPS: Final = "dragoman_monitor:migrations"
GENERATION: Final = "m1_"
BEFORE_ALEMBIC: Final = "m1_0002"
"""What tables that no step made are at (sqlite.FORMAT)."""
_LOCK: Final = 0x44524D31
"""One start at a time runs steps: the key of Postgres's advisory lock, our file format's application id."""


def migrate(database: Database, *, steps: str = STEPS) -> None:
    """Run the steps that are missing, each in a transaction; on SQLite all of them in one.

    Raises:
        FailedPreconditionError: the tables are of another generation, or the user may not change them.
        UnavailableError: the database is away.
    """
    is_sqlite = database.engine.dialect.name == "sqlite"
    if is_sqlite:
        with database.writing() as connection:
            _migrate(connection, database.where, steps)
        return
    # The lock is the session's: a step may need to leave its transaction (CREATE INDEX CONCURRENTLY).
    outside = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with database.translated(), outside.connect() as holder:
        holder.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        try:
            with database.engine.connect() as connection:
                # An index on a large table takes longer than any other statement may.
                connection.exec_driver_sql("SET statement_timeout = 0")
                _migrate(connection, database.where, steps)
                connection.exec_driver_sql("RESET statement_timeout")
                connection.commit()
        finally:
            holder.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})


def _migrate(connection: Connection, where: str, steps: str) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", steps)
    found = MigrationContext.configure(connection).get_current_revision()
    is_from_before = found is None and inspect(connection).has_table("offsets")
    if connection.dialect.name != "sqlite":
        # Alembic begins and ends a transaction for each step.
        connection.commit()
    if is_from_before:
        command.stamp(config, BEFORE_ALEMBIC)
    elif found is not None and found not in _known(config):
        if not found.startswith(GENERATION):
            raise FailedPreconditionError(
                f"The monitor state {where} is at step {found}; this build reads steps {GENERATION}*. "
                "Run the build that made it, or give this one a database of its own: it counts again from the log."
            )
        logger.warning("the monitor state was made by a later build", extra={"step": found})
        return
    command.upgrade(config, "head")
    head = ScriptDirectory.from_config(config).get_current_head()
    if found != head:
        logger.info("the monitor state was brought to this build's form", extra={"found": found, "step": head})


def _known(config: Config) -> set[str]:
    return {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
