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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, text

from dragoman_events.sqlite_file import load_headers
from dragoman_monitor.counts import USAGE, CountingRules
from dragoman_monitor.database import Database
from dragoman_monitor.dead_letter import DeadLetter
from dragoman_monitor.join import Batch, join
from dragoman_monitor.ports import OtherRulesError, Query, Send, Series, Snapshot
from dragoman_monitor.schema import migrate
from dragoman_monitor.sql_batch import fence, forgotten_before_us, keep, known_of, write
from dragoman_monitor.sql_forgetting import drop_rows, drop_waiting_labels
from dragoman_monitor.sql_rows import key_of
from dragoman_monitor.tables import (
    COUNTS,
    FORGOTTEN,
    OFFSETS,
    RULES,
    TALLIES,
    WAITING_DEAD_LETTERS,
)
from dragoman_monitor.usage import UsageQuery, UsageSum


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
            fence(connection, batch)
            outcome = join(batch, known_of(connection, batch), self._rules)
            write(connection, outcome)
            keep(connection, batch.dead_letters)

    def send_dead_letters(self, send: Send) -> int:
        # Locked over `send`, so that nobody else hands the same letters out; the books go on meanwhile (on SQLite they
        # wait, and poison is rare).
        with self._database.writing() as connection:
            rows = connection.execute(select(WAITING_DEAD_LETTERS).with_for_update()).all()
            if rows:
                send([_letter(row) for row in rows])
                key = key_of(WAITING_DEAD_LETTERS)
                connection.execute(delete(WAITING_DEAD_LETTERS).where(key.in_([tuple(row[:3]) for row in rows])))
        return len(rows)

    def forget(self, *, predictions_before_us: int, labels_before_us: int) -> int:
        total = 0
        for drop, before_us in ((drop_rows, predictions_before_us), (drop_waiting_labels, labels_before_us)):
            num_dropped = -1
            while num_dropped:
                with self._turn() as connection:
                    # In the transaction of the first rows that go: none is forgotten and could be counted again.
                    if predictions_before_us > forgotten_before_us(connection):
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
