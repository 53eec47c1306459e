# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The steps that make the tables: they make what tables.py says, once, beside a build that goes on writing."""

import shutil
import threading
from importlib.resources import files
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from dragoman_common.errors import FailedPreconditionError
from dragoman_monitor.contracts import RULES, batch, counts_of, prediction
from dragoman_monitor.counts import CODE
from dragoman_monitor.opening import open_database
from dragoman_monitor.ports import Series
from dragoman_monitor.schema import migrate
from dragoman_monitor.sql import SqlMonitorStore
from dragoman_monitor.tables import METADATA

# A step as a later build could have it: a column, a table, and an index that writers need not wait for.
LATER = """
from contextlib import nullcontext

import sqlalchemy as sa
from alembic import op

revision = "m1_9999"
down_revision = {before!r}


def upgrade():
    op.add_column("predictions", sa.Column("language", sa.Text, nullable=False, server_default=""))
    op.create_table("later", sa.Column("x", sa.BigInteger, nullable=False))
    is_postgres = op.get_bind().dialect.name == "postgresql"
    with op.get_context().autocommit_block() if is_postgres else nullcontext():
        op.create_index("predictions_by_model", "predictions", ["model"], postgresql_concurrently=is_postgres)
"""


@pytest.fixture
def later_steps(tmp_path):
    """This build's steps and one more."""
    folder = tmp_path / "steps"
    shutil.copytree(Path(str(files("dragoman_monitor") / "migrations")), folder)
    newest = max(path.stem[:7] for path in (folder / "versions").glob("m1_*.py"))
    (folder / "versions" / "m1_9999_later.py").write_text(LATER.format(before=newest))
    return str(folder)


def test_the_steps_make_the_tables_that_the_code_uses(books_url):
    database = open_database(books_url)
    migrate(database)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    database.close()


def test_starts_at_the_same_time_make_the_tables_once(books_url):
    start = threading.Barrier(4)
    failed = []

    def open_and_close():
        start.wait()
        try:
            SqlMonitorStore(open_database(books_url), RULES).close()
        except Exception as error:  # noqa: BLE001 -- shown by the assertion
            failed.append(error)

    threads = [threading.Thread(target=open_and_close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    database = open_database(books_url)
    with database.reading() as connection:
        assert len(connection.execute(METADATA.tables["rules"].select()).all()) == 1
    database.close()


def test_this_build_writes_while_the_next_ones_step_runs_and_starts_again_after_it(books_url, later_steps):
    store = SqlMonitorStore(open_database(books_url), RULES)
    stop = threading.Event()
    written = []

    def write():
        while not stop.is_set() or len(written) < 20:
            n = len(written)
            store.apply(batch(prediction(f"r-{n}"), expected=n))
            written.append(n)

    thread = threading.Thread(target=write)
    thread.start()
    later = open_database(books_url)
    migrate(later, steps=later_steps)
    with later.engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == "m1_9999"
    stop.set()
    thread.join()
    again = SqlMonitorStore(open_database(books_url), RULES)
    again.apply(batch(prediction("after"), expected=len(written)))
    assert counts_of(store)[Series(1, "stable")][CODE, "OK", ""] == len(written) + 1
    for each in (store, later, again):
        each.close()


def test_tables_of_another_generation_are_refused(books_url):
    database = open_database(books_url)
    migrate(database)
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'm2_0001'")
    with pytest.raises(FailedPreconditionError, match="m2_0001; this build reads steps m1_"):
        SqlMonitorStore(database, RULES)
