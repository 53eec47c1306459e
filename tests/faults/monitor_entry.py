# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A monitor that ends, or stands still, at a named point, the n-th time it gets there.

    python -m tests.faults.monitor_entry POINT N WORDS...

The monitor as `__main__` wires it; only its adapters are wrapped here. With a point it also tells Kafka its offsets
after every batch, so that the points around that are met. Words: STOP: stand still (SIGSTOP) there instead of ending.
KAFKA_FIRST, NO_DEDUPE and NO_FENCE are defects, for tests of the tests: Kafka's offset is moved before the books and
is where reading starts; rows that are known count again; nobody looks at whether another monitor was first.
"""

import os
import signal
import sys
import threading
from dataclasses import replace

from sqlalchemy import event

from dragoman_events.kafka_consumer import KafkaConsumer
from dragoman_monitor import __main__ as wiring
from dragoman_monitor import sql, sql_batch
from dragoman_monitor.join import Known

STATEMENTS = {
    "before_fence": "UPDATE offsets",
    "before_rows": "INSERT INTO predictions",
    "before_labels": "INSERT INTO labels",
    "before_counts": "INSERT INTO counts",
    "before_tallies": "INSERT INTO tallies",
}
"""Points inside the sink's transaction, beside `before_commit`."""


class Failpoint:
    """Ends or stops this process at its point, at the n-th time."""

    def __init__(self, point, nth, words):
        self._point, self._left = point, nth
        self._signal = signal.SIGSTOP if "STOP" in words else signal.SIGKILL
        self._lock = threading.Lock()

    def reach(self, point):
        if point == self._point:
            with self._lock:
                self._left -= 1
                is_time = self._left == 0
            if is_time:
                os.kill(os.getpid(), self._signal)


def store(failpoint):
    class Store(wiring.SqlMonitorStore):
        def __init__(self, database, rules):
            super().__init__(database, rules)
            self._here = threading.local()
            event.listen(database.engine, "before_cursor_execute", self._statement)
            event.listen(database.engine, "commit", lambda _: self._reach("before_commit"))

        def apply(self, batch):
            failpoint.reach("before_apply")
            self._here.applies = True
            try:
                super().apply(batch)
            finally:
                self._here.applies = False
            failpoint.reach("after_commit")

        def _statement(self, _connection, _cursor, statement, *_):
            for point, beginning in STATEMENTS.items():
                if statement.startswith(beginning):
                    self._reach(point)

        def _reach(self, point):
            if getattr(self._here, "applies", False):
                failpoint.reach(point)

    return Store


def reader(failpoint, words, *, commits_always):
    class Reader(wiring.TopicReader):
        def __init__(self, *arguments, settings, **more):
            if commits_always:
                settings = replace(settings, commit_interval_s=0.0)
            super().__init__(*arguments, settings=settings, **more)

        def _apply(self, consumer, partition, records):
            if "KAFKA_FIRST" in words and partition in self._next:
                consumer.commit({partition: records[-1].offset + 1})
            super()._apply(consumer, partition, records)

        def _go_to_truth(self, consumer, partitions):
            if "KAFKA_FIRST" not in words:
                super()._go_to_truth(consumer, partitions)
                return
            committed = consumer.committed()
            offsets = {partition: committed.get(partition, 0) for partition in partitions}
            consumer.seek(offsets)
            self._next |= offsets

    return Reader


def install(failpoint, words, *, commits_always):
    """Put the wrapped adapters where `__main__` finds its own."""
    wiring.SqlMonitorStore = store(failpoint)
    wiring.TopicReader = reader(failpoint, words, commits_always=commits_always)
    commit = KafkaConsumer.commit

    def committing(self, offsets=None):
        failpoint.reach("before_kafka_commit")
        commit(self, offsets)
        failpoint.reach("after_kafka_commit")

    KafkaConsumer.commit = committing
    if words & {"NO_FENCE", "KAFKA_FIRST"}:
        sql.fence = unfenced
    if "NO_DEDUPE" in words:
        join, insert = sql.join, sql_batch.insert_into
        sql.join = lambda batch, known, rules: join(batch, Known(labels=known.labels), rules)
        sql_batch.insert_into = lambda connection, table: (
            insert(connection, table).on_conflict_do_nothing()
            if table is sql_batch.PREDICTIONS
            else insert(connection, table)
        )


def unfenced(connection, batch):
    statement = sql_batch.insert_into(connection, sql.OFFSETS)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["topic", "partition"], set_={"next": batch.following}),
        {"topic": batch.topic, "partition": batch.partition, "next": batch.following},
    )


if __name__ == "__main__":
    point, nth, *rest = sys.argv[1:]
    install(Failpoint(point, int(nth), rest), frozenset(rest), commits_always=point != "none")
    wiring.main()
