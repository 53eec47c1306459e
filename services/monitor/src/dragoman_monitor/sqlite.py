# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The books in one SQLite file: the laptop's.

    apply(batch) -> BEGIN IMMEDIATE: fence the offset, read what is known, join, write, COMMIT

Commits are not synced one by one: what a power cut takes is the last batches, whole, rows and offset together, and the
log still has them (sqlite_file.connect).
"""

import json
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dragoman_events.sqlite_file import connect, dump_headers, load_headers, transaction, translated
from dragoman_monitor.counts import Counted, CountingRules
from dragoman_monitor.dead_letter import DeadLetter
from dragoman_monitor.join import EXPIRED, UNJOINED, Batch, Known, Outcome, TallyKey, join
from dragoman_monitor.ports import FencedError, OtherRulesError, Query, Send, Series, Snapshot
from dragoman_monitor.prediction import Label, RowKey
from dragoman_monitor.sqlite_format import FORMAT
from dragoman_monitor.window import WindowKey

_FORGET_ROWS: Final = 1_000
"""Most rows that one transaction of `forget` drops: readers of topics wait for no longer than that."""


class SqliteMonitorStore:
    """A ``MonitorStore`` (ports.py) in one file. Several processes may open it; the fence keeps them apart.

    Raises:
        OtherRulesError: the file's counters were made under other rules.
        FailedPreconditionError: the file is something else.
        UnavailableError: the file cannot be opened.
    """

    def __init__(self, path: Path, rules: CountingRules) -> None:
        self._path = path
        self._rules = rules
        self._writer = connect(path, FORMAT, synchronous="NORMAL")
        self._write_lock = threading.Lock()
        self._reader = connect(path, FORMAT, synchronous="NORMAL")
        self._read_lock = threading.Lock()
        with translated(FORMAT.name, self._path), transaction(self._writer):
            row = self._writer.execute("SELECT description FROM rules").fetchone()
            if row is None:
                self._writer.execute("INSERT INTO rules VALUES (?)", (rules.describe(),))
        if row and row[0] != rules.describe():
            self.close()
            raise OtherRulesError(
                f"The monitor's state counts with {row[0]}, the settings say {rules.describe()}. "
                "Restore the settings, or move the state file away: everything is then counted again from the log."
            )

    def offsets(self, topic: str) -> Mapping[int, int]:
        with self._read_lock, translated(FORMAT.name, self._path):
            return dict(self._reader.execute("SELECT partition, next FROM offsets WHERE topic = ?", (topic,)))

    def apply(self, batch: Batch) -> None:
        with self._write_lock, translated(FORMAT.name, self._path), transaction(self._writer):
            self._fence(batch)
            outcome = join(batch, self._known(batch), self._rules)
            self._write(outcome)
            self._keep(batch)

    def send_dead_letters(self, send: Send) -> int:
        # The write lock is held over `send`: another process must not hand the same letters out. Poison is rare.
        with self._write_lock, translated(FORMAT.name, self._path), transaction(self._writer):
            letters = [
                DeadLetter(
                    topic=row[0],
                    partition=row[1],
                    offset=row[2],
                    reason=row[3],
                    value=row[4],
                    headers=load_headers(row[5]),
                    tenant=row[6],
                    reject_time_us=row[7],
                    search_from={int(partition): offset for partition, offset in json.loads(row[8]).items()},
                )
                for row in self._writer.execute("SELECT * FROM waiting_dead_letters")
            ]
            if letters:
                send(letters)
                self._writer.execute("DELETE FROM waiting_dead_letters")
        return len(letters)

    def forget(self, *, predictions_before_us: int, labels_before_us: int) -> int:
        total = 0
        for drop, before_us in ((self._drop_rows, predictions_before_us), (self._drop_waiting, labels_before_us)):
            num_dropped = -1
            while num_dropped:
                with self._write_lock, translated(FORMAT.name, self._path), transaction(self._writer):
                    # In the transaction of the first rows that go: none is forgotten and could be counted again.
                    if predictions_before_us > self._forgotten_before_us():
                        self._writer.execute("DELETE FROM forgotten")
                        self._writer.execute("INSERT INTO forgotten VALUES (?)", (predictions_before_us,))
                    num_dropped = drop(before_us)
                total += num_dropped
        return total

    def tallies(self) -> Mapping[str, int]:
        with self._read_lock, translated(FORMAT.name, self._path):
            return dict(self._reader.execute("SELECT name, sum(count) FROM tallies GROUP BY name"))

    def snapshot(self, query: Query) -> Snapshot:
        snapshot = Snapshot()
        with self._read_lock, translated(FORMAT.name, self._path):
            self._reader.execute("BEGIN")
            try:
                for version, arm, start_us, *key, count in self._reader.execute(*_counts_statement(query)):
                    window = snapshot.windows.setdefault(Series(version, arm), {}).setdefault(start_us, Counter())
                    window[key[0], key[1], key[2]] = count
                snapshot.tallies = dict(
                    self._reader.execute(
                        "SELECT name, sum(count) FROM tallies WHERE tenant IN ('', ?) GROUP BY name", (query.tenant,)
                    )
                )
                for topic, partition, following in self._reader.execute("SELECT topic, partition, next FROM offsets"):
                    snapshot.offsets[topic, partition] = following
            finally:
                self._reader.execute("COMMIT")
        return snapshot

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            self._writer.close()
            self._reader.close()

    def _fence(self, batch: Batch) -> None:
        place = {"topic": batch.topic, "partition": batch.partition}
        self._writer.execute("INSERT OR IGNORE INTO offsets VALUES (:topic, :partition, 0)", place)
        cursor = self._writer.execute(
            """UPDATE offsets SET next = :following
               WHERE topic = :topic AND partition = :partition AND next = :expected""",
            place | {"following": batch.following, "expected": batch.expected},
        )
        if cursor.rowcount != 1:
            raise FencedError(f"{batch.topic}/{batch.partition} is not at offset {batch.expected}.")

    def _known(self, batch: Batch) -> Known:
        known = Known(forgotten_before_us=self._forgotten_before_us())
        for key in batch.row_keys():
            names = (key.tenant, key.request_id, key.row)
            label = self._writer.execute(
                'SELECT label, receive_time_us FROM labels WHERE tenant = ? AND request_id = ? AND "row" = ?', names
            ).fetchone()
            if label:
                known.labels[key] = Label(key=key, text=label[0], receive_time_us=label[1])
            arms = self._writer.execute(
                """SELECT arm, model, version, start_us, label, is_covered FROM predictions
                   WHERE tenant = ? AND request_id = ? AND "row" = ?""",
                names,
            ).fetchall()
            if arms:
                known.predictions[key] = {row[0]: _counted(key, row) for row in arms}
        return known

    def _write(self, outcome: Outcome) -> None:
        self._writer.executemany(
            "INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (*_row(row.key), w.arm, w.model, w.version, w.start_us, row.label, row.is_covered)
                for row in outcome.predictions
                for w in (row.window,)
            ],
        )
        self._writer.executemany(
            "INSERT OR REPLACE INTO labels VALUES (?, ?, ?, ?, ?)",
            [(*_row(key), label.text, label.receive_time_us) for key, label in outcome.labels.items()],
        )
        self._writer.executemany(
            """INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT DO UPDATE SET count = count + excluded.count""",
            [
                (w.tenant, w.model, w.version, w.arm, w.start_us, *key, count)
                for w, counts in outcome.counts.items()
                for key, count in counts.items()
                if count
            ],
        )
        self._add(outcome.tallies)

    def _forgotten_before_us(self) -> int:
        row = self._writer.execute("SELECT before_us FROM forgotten").fetchone()
        return int(row[0]) if row else 0

    def _drop_rows(self, before_us: int) -> int:
        rows = self._writer.execute(
            'SELECT tenant, request_id, "row", arm FROM predictions WHERE start_us < ? LIMIT ?',
            (before_us, _FORGET_ROWS),
        ).fetchall()
        self._writer.executemany(
            'DELETE FROM predictions WHERE tenant = ? AND request_id = ? AND "row" = ? AND arm = ?', rows
        )
        cursor = self._writer.executemany(
            """DELETE FROM labels WHERE tenant = :1 AND request_id = :2 AND "row" = :3 AND NOT EXISTS
                   (SELECT 1 FROM predictions AS p
                    WHERE p.tenant = :1 AND p.request_id = :2 AND p."row" = :3)""",
            [{"1": row[0], "2": row[1], "3": row[2]} for row in rows],
        )
        return len(rows) + max(0, cursor.rowcount)

    def _drop_waiting(self, before_us: int) -> int:
        rows = self._writer.execute(
            """SELECT tenant, request_id, "row" FROM labels AS l WHERE receive_time_us < ? AND NOT EXISTS
                   (SELECT 1 FROM predictions AS p
                    WHERE p.tenant = l.tenant AND p.request_id = l.request_id AND p."row" = l."row")
               LIMIT ?""",
            (before_us, _FORGET_ROWS),
        ).fetchall()
        self._writer.executemany('DELETE FROM labels WHERE tenant = ? AND request_id = ? AND "row" = ?', rows)
        tallies: Counter[TallyKey] = Counter()
        for tenant, _, _ in rows:
            tallies.update({(tenant, UNJOINED): -1, (tenant, EXPIRED): 1})
        self._add(tallies)
        return len(rows)

    def _add(self, tallies: Mapping[TallyKey, int]) -> None:
        self._writer.executemany(
            "INSERT INTO tallies VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(*key, count) for key, count in tallies.items() if count],
        )

    def _keep(self, batch: Batch) -> None:
        self._writer.executemany(
            "INSERT INTO waiting_dead_letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    letter.topic,
                    letter.partition,
                    letter.offset,
                    letter.reason,
                    letter.value,
                    dump_headers(letter.headers),
                    letter.tenant,
                    letter.reject_time_us,
                    json.dumps(dict(letter.search_from)),
                )
                for letter in batch.dead_letters
            ],
        )


def _row(key: RowKey) -> tuple[str, str, int]:
    return key.tenant, key.request_id, key.row


def _counted(key: RowKey, row: tuple[Any, ...]) -> Counted:
    arm, model, version, start_us, label, is_covered = row
    window = WindowKey(tenant=key.tenant, model=model, version=version, arm=arm, start_us=start_us)
    return Counted(key=key, window=window, label=label, is_covered=bool(is_covered))


def _counts_statement(query: Query) -> tuple[str, dict[str, str | int | None]]:
    statement = """SELECT version, arm, start_us, name, first, second, count FROM counts
        WHERE tenant = :tenant AND model = :model AND count != 0
          AND (:version IS NULL OR version = :version)
          AND (:start_us IS NULL OR start_us >= :start_us)
          AND (:end_us IS NULL OR start_us < :end_us)"""
    return statement, {
        "tenant": query.tenant,
        "model": query.model,
        "version": query.version,
        "start_us": query.start_us,
        "end_us": query.end_us,
    }
