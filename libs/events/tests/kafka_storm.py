# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Appends from many threads while the broker is killed, and what must be in the topic afterwards."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from dragoman_common.errors import DragomanError, UnavailableError
from dragoman_events.contracts import event
from dragoman_events.kafka_log import KafkaEventLog
from dragoman_events.ports import Message
from dragoman_events.topics import PREDICTIONS, message_key
from tests.parts.kafka import KafkaBroker

GRACE_S = 3.0
"""How far beyond its limit an append may return on a machine that has other things to do."""


@dataclass
class Storm:
    """Writers that append until told to stop, each event under an id of its own."""

    log: KafkaEventLog
    limit_s: float
    accepted: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)
    failures: list[DragomanError] = field(default_factory=list)
    longest_s: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: list[threading.Thread] = field(default_factory=list)

    def begin(self, num_threads: int, *, batch: int) -> None:
        self.threads = [threading.Thread(target=self._write, args=(n, batch)) for n in range(num_threads)]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def wait_for(self, num_accepted: int) -> None:
        """Return when so many events were acknowledged."""
        ends_s = time.monotonic() + 120
        while len(self.accepted) < num_accepted:
            assert time.monotonic() < ends_s, f"{len(self.accepted)} of {num_accepted}; {self.failures[-1:]}"
            time.sleep(0.01)

    def _write(self, thread: int, batch: int) -> None:
        number = 0
        while not self.stop.is_set():
            names = [f"{thread}-{number + n}" for n in range(batch)]
            number += batch
            messages = [Message.of(message_key("acme", name), event(0)) for name in names]
            messages = [
                Message(key=m.key, headers=m.headers | {"ce_id": name.encode()}, value=m.value)
                for m, name in zip(messages, names, strict=True)
            ]
            began_s = time.monotonic()
            error: DragomanError | None = None
            try:
                self.log.write(PREDICTIONS, messages)
            except UnavailableError as raised:
                error = raised
            with self.lock:
                self.tried.update(names)
                self.longest_s = max(self.longest_s, time.monotonic() - began_s)
                if error is None:
                    self.accepted.update(names)
                else:
                    self.failures.append(error)


def in_topic(log: KafkaEventLog) -> Counter[str]:
    """How often each id stands in the topic."""
    ids: Counter[str] = Counter()
    for partition in log.end_offsets(PREDICTIONS):
        offset = 0
        while records := log.read(PREDICTIONS, offset, 5_000, partition=partition):
            ids.update(record.headers["ce_id"].decode() for record in records)
            offset = records[-1].offset + 1
    return ids


def kill_often(
    broker: KafkaBroker, storm: Storm, *, num_kills: int, events_between: int, down_s: float, rng: random.Random
) -> None:
    """Kill the broker at random moments, each after so many more acknowledged events, and start it again."""
    for _ in range(num_kills):
        storm.wait_for(len(storm.accepted) + events_between)
        time.sleep(rng.random() * 0.05)
        broker.kill()
        time.sleep(down_s)
        broker.start()


def check(storm: Storm, found: Counter[str]) -> None:
    """What must hold: nothing acknowledged is missing or invented, and no append outlived its limit."""
    assert not (lost := storm.accepted - found.keys()), f"{len(lost)} acknowledged events are not in the topic"
    assert not (invented := found.keys() - storm.tried), f"{len(invented)} events nobody wrote"
    # Whoever appends once finds it once: the producer is idempotent.
    doubled = [name for name in storm.accepted if found[name] > 1]
    assert not doubled, f"{len(doubled)} acknowledged events are there twice"
    assert storm.longest_s < storm.limit_s + GRACE_S
