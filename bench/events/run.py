# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How many events a second the laptop's event path takes: appended durably, and drained into the monitor's books.

    python bench/events/run.py [--events N] [--folder PATH]

Durable appends are bound by the disk, so the disk's own rate of small syncs is printed in the same run. A figure of
another disk, or of a folder in memory (tmpfs), says nothing about this one.
"""

import argparse
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from messages import feedback, prediction

from dragoman_common.clock import SystemClock
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.consumer import ConsumerSettings, Read, TopicReader
from dragoman_monitor.convert import label_from_record, prediction_from_record
from dragoman_monitor.counts import CountingRules
from dragoman_monitor.dead_letter_topic import DeadLetterTopic
from dragoman_monitor.opening import open_database
from dragoman_monitor.ports import Query
from dragoman_monitor.sql import SqlMonitorStore

READ: dict[str, Read] = {PREDICTIONS: prediction_from_record, FEEDBACK: label_from_record}
SYNC_TIME_S = 1.0
GROUP_SIZES = (1, 10, 100)
MAX_GROUPS = 300
NUM_THREADS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000, help="predictions, and as many labels, to drain")
    parser.add_argument("--folder", type=Path, default=None, help="where to write; default: the temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        print(f"disk: {sync_rate(folder):,.0f} fsyncs/s of 4 KiB appends")
        append(folder)
        drain(folder, arguments.events)


def sync_rate(folder: Path) -> float:
    with (folder / "sync").open("wb", buffering=0) as file:
        count, start_s = 0, time.perf_counter()
        while (elapsed_s := time.perf_counter() - start_s) < SYNC_TIME_S:
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
            count += 1
    return count / elapsed_s


def append(folder: Path) -> None:
    log = SqliteEventLog(folder / "append.db")
    messages = [prediction(number) for number in range(max(GROUP_SIZES))]
    for size in GROUP_SIZES:
        start_s = time.perf_counter()
        for _ in range(MAX_GROUPS):
            log.write(PREDICTIONS, messages[:size])
        elapsed_s = time.perf_counter() - start_s
        groups, events = MAX_GROUPS / elapsed_s, MAX_GROUPS * size / elapsed_s
        print(f"append: {events:,.0f} events/s durable in groups of {size} ({groups:,.0f} commits/s)")
    start_s = time.perf_counter()
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        list(threads.map(lambda number: log.write(PREDICTIONS, [prediction(number)]), range(NUM_THREADS * MAX_GROUPS)))
    events = NUM_THREADS * MAX_GROUPS / (time.perf_counter() - start_s)
    print(f"append: {events:,.0f} events/s durable, one at a time from each of {NUM_THREADS} threads")
    log.close()


def drain(folder: Path, count: int) -> None:
    log = SqliteEventLog(folder / "events.db")
    store = SqlMonitorStore(open_database(f"sqlite:///{folder.absolute()}/monitor.db"), CountingRules())
    log.write(PREDICTIONS, [prediction(number) for number in range(count)])
    log.write(FEEDBACK, [feedback(number) for number in range(count)])
    for topic in (PREDICTIONS, FEEDBACK):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        TopicReader(
            topic,
            READ[topic],
            log=log,
            store=store,
            send=DeadLetterTopic(log).send,
            clock=SystemClock(),
            settings=ConsumerSettings(poll_timeout_s=0.0),
        ).run(UntilRead(store, topic, count))
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        print(f"monitor: {count / wall_s:,.0f} events/s drained from {topic}, {cpu_s / count * 1e6:.0f} us CPU each")
    windows = store.snapshot(Query(tenant="acme", model="r8")).windows.values()
    counted = sum(
        n for series in windows for counts in series.values() for (name, *_), n in counts.items() if name == "code"
    )
    if counted != count:
        raise SystemExit(f"counted {counted} of {count}")
    store.close()
    log.close()


class UntilRead(threading.Event):
    """A stop that is set when the books hold a topic's events."""

    def __init__(self, store: SqlMonitorStore, topic: str, end: int) -> None:
        super().__init__()
        self._store, self._topic, self._end = store, topic, end

    def is_set(self) -> bool:
        return self._store.offsets(self._topic).get(0, 0) >= self._end


if __name__ == "__main__":
    main()
