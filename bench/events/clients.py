# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a Kafka client costs the gateway and the monitor: two clients, the log on SQLite, one broker, one run.

    python bench/events/clients.py [--events N] [--seconds S] [--rates 335,470]

Real prediction events, acks=all, idempotent. First groups of stated sizes, one after another. Then events at the rates
of the gateway's full load, as its outbox writes them: a group is what gathered while the one before was on its way. CPU
is this process's, all threads; what the gathering costs with a log that keeps nothing is taken off.
"""

import argparse
import asyncio
import logging
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from messages import prediction

from dragoman_events.kafka_log import KafkaEventLog
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_events.ports import Message
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import PREDICTIONS

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.parts import kafka

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaConsumer as PureConsumer
    from kafka import KafkaProducer as PureProducer

GROUP_SIZES = (1, 4, 16, 100)
MAX_GROUPS = 1_000
TIMEOUT_S = 60
Write = Callable[[Sequence[Message]], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000, help="to read back")
    parser.add_argument("--seconds", type=float, default=10, help="per rate and client")
    parser.add_argument("--rates", default="335,470", help="requests/s of the gateway at full load, least and most")
    parser.add_argument("--own-ms", default="0,2", help="what the event loop itself works on each request")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    messages = [prediction(number) for number in range(2_000)]
    size = sum(len(m.key) + len(m.value) + sum(len(n) + len(v) for n, v in m.headers.items()) for m in messages)
    print(f"events of {size / len(messages):.0f} bytes, envelope included")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(kafka.running(folder / "broker"))
        by_name = stack.enter_context(writers(broker.bootstrap, folder))
        for group_size in GROUP_SIZES:
            for which, write in by_name.items():
                append(which, write, messages, group_size)
        for rate in arguments.rates.split(","):
            for own_ms in arguments.own_ms.split(","):
                at_rate(by_name, messages, Load(int(rate), float(own_ms) / 1000, arguments.seconds))
        drain(broker.bootstrap, by_name["confluent-kafka"], messages, arguments.events)


@contextmanager
def writers(bootstrap: str, folder: Path) -> Iterator[dict[str, Write]]:
    """What writes a group durably, by name; the topics have 6 partitions."""
    log = KafkaEventLog(bootstrap, KafkaSettings(kafka_create_topics=True, kafka_replication=1))
    file = SqliteEventLog(folder / "events.db")
    pure = PureProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", metrics_enabled=False)

    def write_pure(messages: Sequence[Message]) -> None:
        futures = [pure.send(PREDICTIONS, key=m.key, value=m.value, headers=list(m.headers.items())) for m in messages]
        for future in futures:
            future.get(TIMEOUT_S)

    try:
        by_name: dict[str, Write] = {
            "confluent-kafka": lambda messages: _ignore(log.write(PREDICTIONS, messages)),
            "kafka-python": write_pure,
            "sqlite": lambda messages: _ignore(file.write(PREDICTIONS, messages)),
        }
        for write in by_name.values():
            # The first one waits for a connection and a producer's id.
            write([prediction(0)])
        yield by_name
    finally:
        pure.close(TIMEOUT_S)
        file.close()
        log.close()


def append(which: str, write: Write, messages: Sequence[Message], size: int) -> None:
    count = min(MAX_GROUPS, 20_000 // size)
    groups = [[messages[(group * size + n) % len(messages)] for n in range(size)] for group in range(count)]
    began_s, began_cpu_s = time.perf_counter(), cpu_s()
    for group in groups:
        write(group)
    wall_s, used_s = time.perf_counter() - began_s, cpu_s() - began_cpu_s
    events = count * size
    print(f"groups of {size:3}: {which:16} {events / wall_s:9,.0f} events/s, {used_s / events * 1e6:5.0f} us CPU each")


@dataclass(frozen=True)
class Load:
    """What the gateway is under."""

    rate: int
    own_s: float
    seconds: float


def at_rate(by_name: dict[str, Write], messages: Sequence[Message], load: Load) -> None:
    base_s, *_ = asyncio.run(_in_groups(_ignore, messages, load))
    for which, write in by_name.items():
        used_s, group, waits_s = asyncio.run(_in_groups(write, messages, load))
        share = (used_s - base_s) * load.rate
        print(
            f"{load.rate} requests/s, {load.own_s * 1e3:.1f} ms of its own: {which:16} "
            f"{(used_s - base_s) * 1e6:5.0f} us CPU each, {share:5.1%} of a core, "
            f"{group:.1f} events a group, p50 {waits_s[len(waits_s) // 2] * 1e3:.1f} ms, "
            f"p99 {waits_s[len(waits_s) * 99 // 100] * 1e3:.1f} ms"
        )


async def _in_groups(write: Write, messages: Sequence[Message], load: Load) -> tuple[float, float, list[float]]:
    """CPU seconds per event, events per group, sorted waits in seconds."""
    waiting: list[tuple[Message, asyncio.Future[None]]] = []
    wake, waits_s, num_groups = asyncio.Event(), [], 0

    async def write_groups() -> None:
        nonlocal num_groups
        while True:
            await wake.wait()
            wake.clear()
            group = waiting[:]
            waiting.clear()
            num_groups += 1
            await asyncio.to_thread(write, [message for message, _ in group])
            for _, done in group:
                done.set_result(None)

    async def call(number: int) -> None:
        ends_cpu_s = time.thread_time() + load.own_s
        while time.thread_time() < ends_cpu_s:
            pass
        began_s, done = time.perf_counter(), asyncio.get_running_loop().create_future()
        waiting.append((messages[number % len(messages)], done))
        wake.set()
        await done
        waits_s.append(time.perf_counter() - began_s)

    rng, calls, writer = random.Random(load.rate), [], asyncio.create_task(write_groups())
    began_cpu_s, due_s = cpu_s(), time.perf_counter()
    ends_s = due_s + load.seconds
    while (due_s := due_s + rng.expovariate(load.rate)) < ends_s:
        if (left_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(left_s)
        calls.append(asyncio.create_task(call(len(calls))))
    await asyncio.gather(*calls)
    used_s = cpu_s() - began_cpu_s
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)
    return used_s / len(calls), len(calls) / num_groups, sorted(waits_s)


def drain(bootstrap: str, write: Write, messages: Sequence[Message], count: int) -> None:
    for first in range(0, count, len(messages)):
        write(messages[: min(len(messages), count - first)])
    log = KafkaEventLog(bootstrap, KafkaSettings(kafka_replication=1))
    consumer = log.consumer(PREDICTIONS, "bench")
    consumer.poll(1, TIMEOUT_S)
    read(count, "confluent-kafka", lambda: len(consumer.poll(500, 1.0)))
    consumer.close()
    log.close()
    pure = PureConsumer(
        PREDICTIONS, bootstrap_servers=bootstrap, group_id="pure", auto_offset_reset="earliest", metrics_enabled=False
    )
    while not pure.poll(1_000, max_records=1):
        pass
    read(count, "kafka-python", lambda: sum(len(r) for r in pure.poll(1_000, max_records=500).values()))
    pure.close()


def read(count: int, which: str, poll: Callable[[], int]) -> None:
    found, began_s, began_cpu_s = 0, time.perf_counter(), cpu_s()
    while found < count - 1:
        found += poll()
    wall_s, used_s = time.perf_counter() - began_s, cpu_s() - began_cpu_s
    print(f"read in 500s: {which:16} {found / wall_s:9,.0f} events/s, {used_s / found * 1e6:5.0f} us CPU each")


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _ignore(_value: object) -> None:
    """Nothing is kept."""


if __name__ == "__main__":
    main()
