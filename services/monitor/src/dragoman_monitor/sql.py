# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The books in a database, SQLite or Postgres (database.py), with SQLAlchemy Core.

    apply(batch) -> one transaction: wait for the turn, fence the offset, read what is known, join, write

**One writer at a time.** A prediction and its label come on two topics. Two transactions that write them at the same
time would each not see the other's row, and nobody would join them. So a writer first locks the one row of ``rules``;
on SQLite the transaction itself is that lock. Readers wait for nobody.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, and_, delete, exists, func, insert, select, text, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from dragoman_events.sqlite_file import dump_headers, load_headers
from dragoman_monitor.arrays import arrays
from dragoman_monitor.counts import USAGE, Counted, CountingRules
from dragoman_monitor.database import Database
from dragoman_monitor.dead_letter import DeadLetter
from dragoman_monitor.join import EXPIRED, UNJOINED, Batch, Known, Outcome, TallyKey, join
from dragoman_monitor.ports import FencedError, OtherRulesError, Query, Send, Series, Snapshot
from dragoman_monitor.prediction import Label, RowKey
from dragoman_monitor.schema import migrate
from dragoman_monitor.tables import (
    COUNTS,
    FORGOTTEN,
    LABELS,
    OFFSETS,
    PREDICTIONS,
    RULES,
    TALLIES,
    WAITING_DEAD_LETTERS,
)
from dragoman_monitor.usage import UsageQuery, UsageSum
from dragoman_monitor.window import WindowKey

_FORGET_ROWS: Final = 1_000
"""Most rows that one transaction of `forget` drops: readers of topics wait for no longer than that."""
_MAX_KEYS: Final = 500
"""Most rows that one statement asks for by key."""


class SqlMonitorStore:
    """A ``MonitorStore`` (ports.py) in a database. Several processes may use it; the fence keeps them apart.

    Raises:
        OtherRulesError: the database's counters were made under other rules.
        FailedPreconditionError: the database is something else.
        UnavailableError: it cannot be opened.
    """

    def __init__(self, database: Database, rules: CountingRules) -> None:
        self._database = database
        self._rules = rules
        try:
            migrate(database)
            self._check_rules()
        except BaseException:
            database.close()
            raise

    def offsets(self, topic: str) -> Mapping[int, int]:
        statement = select(OFFSETS.c.partition, OFFSETS.c.next).where(OFFSETS.c.topic == topic)
        with self._database.reading() as connection:
            return {row.partition: row.next for row in connection.execute(statement)}

    def apply(self, batch: Batch) -> None:
        with self._turn() as connection:
            _fence(connection, batch)
            outcome = join(batch, _known(connection, batch), self._rules)
            _write(connection, outcome)
            _keep(connection, batch.dead_letters)

    def send_dead_letters(self, send: Send) -> int:
        # Locked over `send`, so that nobody else hands the same letters out; the books go on meanwhile (on SQLite they
        # wait, and poison is rare).
        with self._database.writing() as connection:
            rows = connection.execute(select(WAITING_DEAD_LETTERS).with_for_update()).all()
            if rows:
                send([_letter(row) for row in rows])
                key = _key(WAITING_DEAD_LETTERS)
                connection.execute(delete(WAITING_DEAD_LETTERS).where(key.in_([tuple(row[:3]) for row in rows])))
        return len(rows)

    def forget(self, *, predictions_before_us: int, labels_before_us: int) -> int:
        total = 0
        for drop, before_us in ((_drop_rows, predictions_before_us), (_drop_waiting, labels_before_us)):
            num_dropped = -1
            while num_dropped:
                with self._turn() as connection:
                    # In the transaction of the first rows that go: none is forgotten and could be counted again.
                    if predictions_before_us > _forgotten_before_us(connection):
                        connection.execute(delete(FORGOTTEN))
                        connection.execute(insert(FORGOTTEN), {"before_us": predictions_before_us})
                    num_dropped = drop(connection, before_us)
                total += num_dropped
        return total

    def tallies(self) -> Mapping[str, int]:
        statement = select(TALLIES.c.name, func.sum(TALLIES.c["count"])).group_by(TALLIES.c.name)
        with self._database.reading() as connection:
            return {name: int(count) for name, count in connection.execute(statement)}

    def snapshot(self, query: Query) -> Snapshot:
        snapshot = Snapshot()
        tallies = (
            select(TALLIES.c.name, func.sum(TALLIES.c["count"]))
            .where(TALLIES.c.tenant.in_(("", query.tenant)))
            .group_by(TALLIES.c.name)
        )
        with self._database.reading() as connection:
            for version, arm, start_us, name, first, second, count in connection.execute(_counts_of(query)):
                window = snapshot.windows.setdefault(Series(version, arm), {}).setdefault(start_us, Counter())
                window[name, first, second] = count
            snapshot.tallies = {name: int(count) for name, count in connection.execute(tallies)}
            for topic, partition, following in connection.execute(select(OFFSETS)):
                snapshot.offsets[topic, partition] = following
        return snapshot

    def usage(self, query: UsageQuery) -> list[UsageSum]:
        span_us = query.span_s * 1_000_000
        start_us = (COUNTS.c.start_us - COUNTS.c.start_us % span_us).label("span_us")
        statement = (
            select(start_us, COUNTS.c.model, COUNTS.c.version, COUNTS.c.name, func.sum(COUNTS.c["count"]))
            .where(
                COUNTS.c.tenant == query.tenant,
                COUNTS.c.start_us >= query.start_us,
                COUNTS.c.start_us < query.end_us,
                COUNTS.c.name.in_(USAGE),
            )
            .group_by("span_us", COUNTS.c.model, COUNTS.c.version, COUNTS.c.name)
        )
        with self._database.reading() as connection:
            return [
                UsageSum(start_us=start_us, model=model, version=version, name=name, count=int(count))
                for start_us, model, version, name, count in connection.execute(statement)
            ]

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _turn(self) -> Iterator[Connection]:
        with self._database.writing() as connection:
            connection.execute(select(RULES).with_for_update())
            yield connection

    def _check_rules(self) -> None:
        ours = self._rules.describe()
        with self._database.writing() as connection:
            if connection.dialect.name == "postgresql":
                # The row cannot be locked before it is there.
                connection.execute(text("LOCK TABLE rules IN SHARE ROW EXCLUSIVE MODE"))
            theirs = connection.execute(select(RULES.c.description)).scalar()
            if theirs is None:
                connection.execute(insert(RULES), {"description": ours})
        if theirs not in (None, ours):
            raise OtherRulesError(
                f"The monitor's state counts with {theirs}, the settings say {ours}. Restore the settings, or give "
                "the monitor a new state (move the file away, or take another database): everything is then counted "
                "again from the log."
            )


def _fence(connection: Connection, batch: Batch) -> None:
    place = {"topic": batch.topic, "partition": batch.partition}
    connection.execute(_insert(connection, OFFSETS).on_conflict_do_nothing(), place | {"next": 0})
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


def _known(connection: Connection, batch: Batch) -> Known:
    known = Known(forgotten_before_us=_forgotten_before_us(connection))
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
    if _is_sqlite(connection):
        for names in _chunks([(key.tenant, key.request_id, key.row) for key in keys]):
            yield from connection.execute(select(table).where(_row_key(table).in_(names)))
    elif keys:
        columns = (table.c.tenant, table.c.request_id, table.c.row)
        asked, values = arrays(columns, [_row(key) for key in sorted(keys)])
        matches = and_(*(column == asked.c[column.name] for column in columns))
        yield from connection.execute(select(table).join(asked, matches), values)


def _write(connection: Connection, outcome: Outcome) -> None:
    if outcome.predictions:
        _put(
            connection,
            _insert(connection, PREDICTIONS),
            [
                _row(row.key)
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
        statement = _insert(connection, LABELS)
        newer = {name: statement.excluded[name] for name in ("label", "receive_time_us")}
        _put(
            connection,
            statement.on_conflict_do_update(index_elements=list(LABELS.primary_key), set_=newer),
            [
                _row(key) | {"label": label.text, "receive_time_us": label.receive_time_us}
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
    _tally(connection, outcome.tallies)


def _keep(connection: Connection, letters: Sequence[DeadLetter]) -> None:
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


def _letter(row: Any) -> DeadLetter:
    topic, partition, offset, reason, value, headers, tenant, reject_time_us, search_from = row
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        reason=reason,
        value=bytes(value),
        headers=load_headers(headers),
        tenant=tenant,
        reject_time_us=reject_time_us,
        search_from={int(name): following for name, following in json.loads(search_from).items()},
    )


def _forgotten_before_us(connection: Connection) -> int:
    return connection.execute(select(FORGOTTEN.c.before_us)).scalar() or 0


def _drop_rows(connection: Connection, before_us: int) -> int:
    rows = connection.execute(
        select(*PREDICTIONS.primary_key).where(PREDICTIONS.c.start_us < before_us).limit(_FORGET_ROWS)
    ).all()
    num_dropped = 0
    for keys in _chunks([tuple(row) for row in rows]):
        connection.execute(delete(PREDICTIONS).where(_key(PREDICTIONS).in_(keys)))
        names = [key[:3] for key in keys]
        dropped = connection.execute(delete(LABELS).where(_key(LABELS).in_(names), ~_is_predicted()))
        num_dropped += len(keys) + dropped.rowcount
    return num_dropped


def _drop_waiting(connection: Connection, before_us: int) -> int:
    rows = connection.execute(
        select(*LABELS.primary_key).where(LABELS.c.receive_time_us < before_us, ~_is_predicted()).limit(_FORGET_ROWS)
    ).all()
    tallies: Counter[TallyKey] = Counter()
    for keys in _chunks([tuple(row) for row in rows]):
        connection.execute(delete(LABELS).where(_key(LABELS).in_(keys)))
        for tenant, *_ in keys:
            tallies.update({(tenant, UNJOINED): -1, (tenant, EXPIRED): 1})
    _tally(connection, tallies)
    return len(rows)


def _is_predicted() -> Any:
    return exists().where(
        PREDICTIONS.c.tenant == LABELS.c.tenant,
        PREDICTIONS.c.request_id == LABELS.c.request_id,
        PREDICTIONS.c.row == LABELS.c.row,
    )


def _tally(connection: Connection, tallies: Mapping[TallyKey, int]) -> None:
    _add(
        connection,
        TALLIES,
        [{"tenant": tenant, "name": name, "count": count} for (tenant, name), count in tallies.items()],
    )


def _add(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    added = [row for row in rows if row["count"]]
    if added:
        statement = _insert(connection, table)
        total = table.c["count"] + statement.excluded["count"]
        _put(
            connection,
            statement.on_conflict_do_update(index_elements=list(table.primary_key), set_={"count": total}),
            added,
        )


def _put(
    connection: Connection, statement: postgresql.Insert | sqlite.Insert, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write rows by one statement: on Postgres it is one in fact, whose text is the same for any number of them."""
    if _is_sqlite(connection):
        connection.execute(statement, rows)
        return
    columns = [statement.table.c[name] for name in rows[0]]
    given, values = arrays(columns, rows)
    connection.execute(statement.from_select(columns, select(*given.c)), values)


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


def _insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that knows ON CONFLICT: the two dialects say it in the same words."""
    return sqlite.insert(table) if _is_sqlite(connection) else postgresql.insert(table)


def _counts_of(query: Query) -> Select[Any]:
    columns = [COUNTS.c[name] for name in ("version", "arm", "start_us", "name", "first", "second", "count")]
    statement = select(*columns).where(
        COUNTS.c.tenant == query.tenant, COUNTS.c.model == query.model, COUNTS.c["count"] != 0
    )
    if query.version is not None:
        statement = statement.where(COUNTS.c.version == query.version)
    if query.start_us is not None:
        statement = statement.where(COUNTS.c.start_us >= query.start_us)
    if query.end_us is not None:
        statement = statement.where(COUNTS.c.start_us < query.end_us)
    return statement


def _key(table: Table) -> Any:
    return tuple_(*table.primary_key)


def _row_key(table: Table) -> Any:
    return tuple_(table.c.tenant, table.c.request_id, table.c.row)


def _row(key: RowKey) -> dict[str, Any]:
    return {"tenant": key.tenant, "request_id": key.request_id, "row": key.row}


def _chunks(keys: Collection[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    ordered = sorted(keys)
    for start in range(0, len(ordered), _MAX_KEYS):
        yield ordered[start : start + _MAX_KEYS]
