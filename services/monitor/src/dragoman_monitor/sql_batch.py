# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What one batch reads and writes in its transaction. sql.py opens the transaction; join.py decides what is written."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, and_, insert, select, update

from dragoman_events.sqlite_file import dump_headers
from dragoman_monitor.arrays import arrays
from dragoman_monitor.counts import Counted
from dragoman_monitor.dead_letter import DeadLetter
from dragoman_monitor.join import Batch, Known, Outcome, TallyKey
from dragoman_monitor.ports import FencedError
from dragoman_monitor.prediction import Label, RowKey
from dragoman_monitor.sql_rows import chunks, insert_into, is_sqlite, put, row_key_of, row_values
from dragoman_monitor.tables import COUNTS, FORGOTTEN, LABELS, OFFSETS, PREDICTIONS, TALLIES, WAITING_DEAD_LETTERS
from dragoman_monitor.window import WindowKey


def fence(connection: Connection, batch: Batch) -> None:
    """Move the partition's offset from where the batch was read.

    Raises:
        FencedError: it is elsewhere: somebody else was first.
    """
    place = {"topic": batch.topic, "partition": batch.partition}
    connection.execute(insert_into(connection, OFFSETS).on_conflict_do_nothing(), place | {"next": 0})
    result = connection.execute(
        update(OFFSETS)
        .where(
            OFFSETS.c.topic == batch.topic,
            OFFSETS.c.partition == batch.partition,
            OFFSETS.c.next == batch.expected,
        )
        .values(next=batch.following)
    )
    if result.rowcount != 1:
        raise FencedError(f"{batch.topic}/{batch.partition} is not at offset {batch.expected}.")


def known_of(connection: Connection, batch: Batch) -> Known:
    """What the books hold about the batch's rows."""
    known = Known(forgotten_before_us=forgotten_before_us(connection))
    keys = batch.row_keys()
    for tenant, request_id, row, text_, receive_time_us in _of_rows(connection, LABELS, keys):
        key = RowKey(tenant, request_id, row)
        known.labels[key] = Label(key=key, text=text_, receive_time_us=receive_time_us)
    for tenant, request_id, row, arm, model, version, start_us, label, is_covered in _of_rows(
        connection, PREDICTIONS, keys
    ):
        key = RowKey(tenant, request_id, row)
        window = WindowKey(tenant=tenant, model=model, version=version, arm=arm, start_us=start_us)
        counted = Counted(key=key, window=window, label=label, is_covered=bool(is_covered))
        known.predictions.setdefault(key, {})[arm] = counted
    return known


def _of_rows(connection: Connection, table: Table, keys: Collection[RowKey]) -> Iterator[Any]:
    """The rows of a table that belong to these predictions' rows."""
    if is_sqlite(connection):
        for names in chunks([(key.tenant, key.request_id, key.row) for key in keys]):
            yield from connection.execute(select(table).where(row_key_of(table).in_(names)))
    elif keys:
        columns = (table.c.tenant, table.c.request_id, table.c.row)
        asked, values = arrays(columns, [row_values(key) for key in sorted(keys)])
        matches = and_(*(column == asked.c[column.name] for column in columns))
        yield from connection.execute(select(table).join(asked, matches), values)


def write(connection: Connection, outcome: Outcome) -> None:
    """Write what the join decided."""
    if outcome.predictions:
        put(
            connection,
            insert_into(connection, PREDICTIONS),
            [
                row_values(row.key)
                | {
                    "arm": row.window.arm,
                    "model": row.window.model,
                    "version": row.window.version,
                    "start_us": row.window.start_us,
                    "label": row.label,
                    "is_covered": int(row.is_covered),
                }
                for row in outcome.predictions
            ],
        )
    if outcome.labels:
        statement = insert_into(connection, LABELS)
        newer = {name: statement.excluded[name] for name in ("label", "receive_time_us")}
        put(
            connection,
            statement.on_conflict_do_update(index_elements=list(LABELS.primary_key), set_=newer),
            [
                row_values(key) | {"label": label.text, "receive_time_us": label.receive_time_us}
                for key, label in outcome.labels.items()
            ],
        )
    _add(
        connection,
        COUNTS,
        [
            {
                "tenant": window.tenant,
                "model": window.model,
                "version": window.version,
                "arm": window.arm,
                "start_us": window.start_us,
                "name": name,
                "first": first,
                "second": second,
                "count": count,
            }
            for window, counts in outcome.counts.items()
            for (name, first, second), count in counts.items()
        ],
    )
    tally(connection, outcome.tallies)


def keep(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Keep the letters until they are sent."""
    if letters:
        connection.execute(
            insert(WAITING_DEAD_LETTERS),
            [
                {
                    "topic": letter.topic,
                    "partition": letter.partition,
                    "offset": letter.offset,
                    "reason": letter.reason,
                    "value": letter.value,
                    "headers": dump_headers(letter.headers),
                    "tenant": letter.tenant,
                    "reject_time_us": letter.reject_time_us,
                    "search_from": json.dumps(dict(letter.search_from)),
                }
                for letter in letters
            ],
        )


def forgotten_before_us(connection: Connection) -> int:
    """The time before which rows are forgotten; 0 for none."""
    return connection.execute(select(FORGOTTEN.c.before_us)).scalar() or 0


def tally(connection: Connection, tallies: Mapping[TallyKey, int]) -> None:
    """Add to the tallies."""
    _add(
        connection,
        TALLIES,
        [{"tenant": tenant, "name": name, "count": count} for (tenant, name), count in tallies.items()],
    )


def _add(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    added = [row for row in rows if row["count"]]
    if added:
        statement = insert_into(connection, table)
        total = table.c["count"] + statement.excluded["count"]
        put(
            connection,
            statement.on_conflict_do_update(index_elements=list(table.primary_key), set_={"count": total}),
            added,
        )
