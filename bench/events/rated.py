# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The event path at its rated load, on real Kafka and Postgres: does the monitor keep up, and does it catch up?

    python bench/events/rated.py [--rate 1000] [--seconds 30] [--backlog 60000]

    this process: the log's Kafka adapter at the rate -> Kafka -> a monitor process -> Postgres

First at the rate, then with a backlog that was written while no monitor ran, and the rate on top of it. One event in
ten is a label. CPU is that of each process with its children, divided by the events that went through meanwhile.
"""

import argparse
import logging
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
from messages import feedback, prediction

from dragoman_common.testing import TestKeys
from dragoman_events.kafka_log import KafkaEventLog
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_events.topics import FEEDBACK, PREDICTIONS

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.parts import kafka, postgres
from tests.parts.hosts import Process

LABEL_EVERY = 10
TICK_S = 0.01
SAMPLE_S = 0.25
LIMIT_S = 300
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=1_000, help="events/s")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--backlog", type=int, default=60_000, help="events")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(kafka.running(folder / "kafka", killable=True))
        server = stack.enter_context(postgres.running(folder / "postgres", killable=True))
        settings = KafkaSettings(kafka_create_topics=True, kafka_replication=1)
        path = EventPath(broker, server, log=KafkaEventLog(broker.bootstrap, settings), folder=folder)
        stack.callback(path.log.close)
        stack.enter_context(path.connected())
        producer = at_rate(path, arguments.rate, arguments.seconds)
        catch_up(path, producer, arguments.backlog)
    print("load average: " + " ".join(f"{value:.1f}" for value in os.getloadavg()))


class EventPath:
    """The parts between a producer and the books, and what each has used of the processors."""

    def __init__(
        self, broker: kafka.KafkaBroker, server: postgres.PostgresServer, *, log: KafkaEventLog, folder: Path
    ) -> None:
        self.log = log
        self._broker, self._server, self._folder = broker, server, folder
        self._books = server.make_database()
        self._num_monitors = 0

    @contextmanager
    def connected(self) -> Iterator[None]:
        with psycopg.connect(self._books, autocommit=True) as self._database:
            yield

    @contextmanager
    def monitor(self) -> Iterator[Process]:
        """A monitor, from when it is ready."""
        self._num_monitors += 1
        folder = self._folder / f"monitor-{self._num_monitors}"
        folder.mkdir()
        keys = TestKeys()
        keys.key("monitor").save(folder)
        keys.trust.save(folder / "trust.json")
        parts = urlsplit(self._books)
        values = {
            "EVENTS_URL": f"kafka://{self._broker.bootstrap}",
            "KAFKA_REPLICATION": 1,
            "KEY_FILE": folder / "monitor.pem",
            "TRUST_FILE": folder / "trust.json",
            "READY_FILE": folder / "ready",
            "STATE_URL": f"postgresql://{parts.username}@{parts.hostname}:{parts.port}{parts.path}",
            "STATE_PASSWORD": unquote(parts.password),
            # The events are of another month.
            "ROW_DAYS": 36_500,
        }
        environ = {f"DRAGOMAN_MONITOR_{name}": str(value) for name, value in values.items()}
        process = Process([sys.executable, "-m", "dragoman_monitor"], folder / "log", environ=environ)
        process.start()
        try:
            until((folder / "ready").exists)
            yield process
            process.stop()
        finally:
            process.kill()

    def num_written(self) -> int:
        return sum(sum(self.log.end_offsets(topic).values()) for topic in (PREDICTIONS, FEEDBACK))

    def num_applied(self) -> int:
        exists = self._database.execute("SELECT to_regclass('offsets') IS NOT NULL").fetchone()[0]
        return int(self._database.execute("SELECT coalesce(sum(next), 0) FROM offsets").fetchone()[0]) if exists else 0

    def cpu_s(self, monitor: Process) -> dict[str, float]:
        own = resource.getrusage(resource.RUSAGE_SELF)
        parts = {"kafka": self._broker, "postgres": self._server}
        pids = {"monitor": monitor.pid} | {name: part._host.pid for name, part in parts.items()}  # noqa: SLF001  its process
        return {"producer": own.ru_utime + own.ru_stime} | {name: family_cpu_s(pid) for name, pid in pids.items()}


def family_cpu_s(pid: int) -> float:
    """A process, its children, and those that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S + sum(family_cpu_s(int(child)) for child in children)


@dataclass(slots=True)
class Producer:
    """Writes events, each number once."""

    log: KafkaEventLog
    rate: int
    number: int = 0

    def write(self, count: int) -> None:
        numbers = range(self.number, self.number + count)
        self.number += count
        self.log.write(PREDICTIONS, [prediction(number) for number in numbers if number % LABEL_EVERY])
        # A label for the row before.
        self.log.write(FEEDBACK, [feedback(number - 1) for number in numbers if number % LABEL_EVERY == 0])

    @contextmanager
    def at_rate(self) -> Iterator[None]:
        """Write at the rate beside the block, in groups of what a gateway gathers in 10 ms."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _run(self, stop: threading.Event) -> None:
        first, start_s = self.number, time.monotonic()
        while not stop.wait(TICK_S):
            due = int((time.monotonic() - start_s) * self.rate) - (self.number - first)
            if due > 0:
                self.write(due)


def at_rate(path: EventPath, rate: int, seconds: float) -> Producer:
    producer = Producer(path.log, rate)
    producer.write(1_000)
    with path.monitor() as monitor:
        until(lambda: path.num_applied() == producer.number)
        with producer.at_rate():
            until(after(2.0))
            used, before, start_s = path.cpu_s(monitor), path.num_applied(), time.monotonic()
            lags = []
            while time.monotonic() < start_s + seconds:
                # First what is applied: a lag is never below 0.
                applied = path.num_applied()
                lags.append(path.num_written() - applied)
                until(after(SAMPLE_S))
            count, elapsed_s = path.num_applied() - before, time.monotonic() - start_s
            print(f"at {rate} events/s: {count / elapsed_s:,.0f} events/s into the books for {elapsed_s:.0f} s")
            print_cpu(used, path.cpu_s(monitor), count)
        lags.sort()
        print(f"  events not in the books yet: median {lags[len(lags) // 2]}, most {lags[-1]}")
    return producer


def catch_up(path: EventPath, producer: Producer, backlog: int) -> None:
    start_s = time.monotonic()
    last = producer.number + backlog
    while producer.number < last:
        producer.write(500)
    print(f"backlog: {backlog} events written at {backlog / (time.monotonic() - start_s):,.0f} events/s")
    with producer.at_rate(), path.monitor() as monitor:
        before = path.num_applied()
        until(lambda: path.num_applied() > before)
        used, before, start_s = path.cpu_s(monitor), path.num_applied(), time.monotonic()
        lag = path.num_written() - before
        # Down to what comes in a second.
        until(lambda: path.num_written() - path.num_applied() < producer.rate)
        count, elapsed_s = path.num_applied() - before, time.monotonic() - start_s
        print(f"draining {lag} events while {producer.rate}/s come: {count / elapsed_s:,.0f} events/s into the books")
        print(f"  the backlog shrinks by {(lag - producer.rate) / elapsed_s:,.0f} events/s")
        print_cpu(used, path.cpu_s(monitor), count)


def print_cpu(before: dict[str, float], now: dict[str, float], count: int) -> None:
    each = ", ".join(f"{name} {(now[name] - before[name]) / count * 1e6:.0f}" for name in before)
    print(f"  CPU per event (us): {each}")


def after(seconds: float) -> Callable[[], bool]:
    end_s = time.monotonic() + seconds
    return lambda: time.monotonic() >= end_s


def until(probe: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + LIMIT_S
    while not probe():
        if time.monotonic() > give_up_s:
            raise SystemExit("the monitor does not keep up")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
