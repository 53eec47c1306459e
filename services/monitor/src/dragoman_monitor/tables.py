# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of the books, for SQLite and Postgres alike. sql.py fills and reads them, migrations/ makes them.

offsets: the truth | predictions, labels: detail, forgotten in time | counts, tallies: for ever | waiting_dead_letters

`rules` has one row, and whoever writes anything but letters locks it first: one writer at a time (sql.py says why).
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

METADATA: Final = MetaData()


def _table(name: str, *columns: Column[str] | Column[int] | Column[bytes]) -> Table:
    has_key = any(column.primary_key for column in columns)
    return Table(name, METADATA, *columns, sqlite_with_rowid=not has_key)


def _text(name: str, *, primary_key: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=primary_key, nullable=False)


def _integer(name: str, *, primary_key: bool = False) -> Column[int]:
    # Never a serial: every key here has a meaning.
    return Column(name, BigInteger, primary_key=primary_key, nullable=False, autoincrement=False)


RULES: Final = _table("rules", _text("description"))
OFFSETS: Final = _table(
    "offsets", _text("topic", primary_key=True), _integer("partition", primary_key=True), _integer("next")
)
PREDICTIONS: Final = _table(
    "predictions",
    _text("tenant", primary_key=True),
    _text("request_id", primary_key=True),
    _integer("row", primary_key=True),
    _text("arm", primary_key=True),
    _text("model"),
    _integer("version"),
    _integer("start_us"),
    _text("label"),
    Column("is_covered", Integer, nullable=False),
)
LABELS: Final = _table(
    "labels",
    _text("tenant", primary_key=True),
    _text("request_id", primary_key=True),
    _integer("row", primary_key=True),
    _text("label"),
    _integer("receive_time_us"),
)
COUNTS: Final = _table(
    "counts",
    _text("tenant", primary_key=True),
    _text("model", primary_key=True),
    _integer("version", primary_key=True),
    _text("arm", primary_key=True),
    _integer("start_us", primary_key=True),
    _text("name", primary_key=True),
    _text("first", primary_key=True),
    _text("second", primary_key=True),
    _integer("count"),
)
TALLIES: Final = _table(
    "tallies", _text("tenant", primary_key=True), _text("name", primary_key=True), _integer("count")
)
WAITING_DEAD_LETTERS: Final = _table(
    "waiting_dead_letters",
    _text("topic", primary_key=True),
    _integer("partition", primary_key=True),
    _integer("offset", primary_key=True),
    _text("reason"),
    Column("value", LargeBinary, nullable=False),
    _text("headers"),
    _text("tenant"),
    _integer("reject_time_us"),
    _text("search_from"),
)
FORGOTTEN: Final = _table("forgotten", _integer("before_us"))

Index("predictions_by_age", PREDICTIONS.c.start_us)
Index("labels_by_age", LABELS.c.receive_time_us)
