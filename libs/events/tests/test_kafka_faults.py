# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The broker is killed, paused or cut off: what was acknowledged stays, nobody waits past its limit, reading goes on.

DRAGOMAN_TEST_KAFKA_KILLS sets how often the broker is killed (2 in make test).
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from dragoman_common import deadline
from dragoman_common.errors import UnavailableError
from dragoman_events.contracts import event
from dragoman_events.kafka_log import KafkaEventLog
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_events.ports import Message
from dragoman_events.topics import JOBS, PREDICTIONS
from tests.parts import kafka
from tests.parts.kafka import KafkaBroker
from tests.parts.missing import required

from .kafka_storm import GRACE_S, Storm, check, in_topic, kill_often

pytestmark = pytest.mark.slow

NUM_KILLS = int(os.environ.get("DRAGOMAN_TEST_KAFKA_KILLS", "2"))
TIMEOUT_S = 60.0
LIMIT_S = 1.0
# Longer than the broker is away: appends wait for it, and are sent again.
PATIENT_S = 15.0
LIMITS = {
    "kafka_delivery_timeout_ms": int(LIMIT_S * 1000),
    "kafka_request_timeout_ms": int(LIMIT_S * 1000),
    # How long a group waits for a member that went away with the broker.
    "kafka_session_timeout_ms": 2_000,
}


@pytest.fixture(scope="module")
def mortal(tmp_path_factory) -> Iterator[KafkaBroker]:
    """A broker that tests kill; each leaves it running."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("mortal")
        yield required("kafka", lambda: stack.enter_context(kafka.running(folder, killable=True)))


@pytest.fixture
def log(open_kafka, mortal):
    return open_kafka(mortal, **LIMITS)


def test_what_was_acknowledged_while_the_broker_was_killed_is_there_once(open_kafka, mortal):
    log = open_kafka(mortal, **LIMITS | {"kafka_delivery_timeout_ms": int(PATIENT_S * 1000)})
    # Opened while the broker is there: opening says so at once when it is not, as any first call does.
    consumer = log.consumer(PREDICTIONS, "g")
    storm = Storm(log, limit_s=PATIENT_S)
    # The least that may be in flight at a kill: 8 appends of 8 events.
    storm.begin(8, batch=8)
    seen: dict[tuple[int, int], str] = {}
    reading = threading.Event()

    def has_read_all() -> bool:
        return reading.is_set() and len(seen) >= sum(log.end_offsets(PREDICTIONS).values())

    def read() -> None:
        has_ended = False
        while not has_ended:
            # Both may say that the broker is away (ports.py); the position stands.
            with suppress(UnavailableError):
                for record in consumer.poll(500, 0.2):
                    seen[record.partition, record.offset] = record.headers["ce_id"].decode()
                has_ended = has_read_all()
        consumer.close()

    reader = threading.Thread(target=read)
    reader.start()
    kill_often(mortal, storm, num_kills=NUM_KILLS, events_between=500, down_s=0.3, rng=random.Random(12))
    storm.wait_for(len(storm.accepted) + 500)
    storm.end()
    reading.set()
    reader.join(TIMEOUT_S)
    found = in_topic(log)
    check(storm, found)
    # The consumer was away from its group for a while, and skipped nothing.
    assert len(seen) == sum(found.values())
    assert set(seen.values()) == found.keys()


def appended(log, message):
    """Append until it is acknowledged: a broker that has just started is not ready for a producer at once."""
    ends_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return log.append(JOBS, b"k", [message])
        except UnavailableError:
            if time.monotonic() > ends_s:
                raise


def test_everything_ends_within_its_limit_while_no_broker_is_there(log, open_kafka, mortal):
    (offset,) = appended(log, event(1))
    consumer = log.consumer(JOBS, "g")
    while not consumer.committed():
        assert consumer.poll(1, TIMEOUT_S)
        consumer.commit({0: offset + 1})
    mortal.kill()
    try:
        began_s = time.monotonic()
        # A service that starts now is told of nothing but its first call.
        late = open_kafka(mortal, **LIMITS)
        for call in (
            lambda: log.append(JOBS, b"k", [event(2)]),
            lambda: log.read(JOBS, 0, 10),
            lambda: log.end_offsets(JOBS),
            lambda: late.append(JOBS, b"k", [event(5)]),
            consumer.committed,
        ):
            assert time.monotonic() - began_s < LIMIT_S + GRACE_S
            began_s = time.monotonic()
            with pytest.raises(UnavailableError):
                call()
        began_s = time.monotonic()
        # Nor do those that start together wait for one another.
        with ThreadPoolExecutor(8) as threads:
            calls = [threads.submit(late.append, JOBS, b"k", [event(6)]) for _ in range(8)]
        assert all(isinstance(call.exception(), UnavailableError) for call in calls)
        assert time.monotonic() - began_s < LIMIT_S + GRACE_S
        began_s = time.monotonic()
        with deadline.within(0.3), pytest.raises(UnavailableError):
            log.append(JOBS, b"k", [event(3)])
        assert time.monotonic() - began_s < 0.3 + GRACE_S
        assert consumer.poll(10, 0.1) == []
    finally:
        mortal.start()
    # Those that were refused may not come later, when whoever wrote them has done something else.
    (offset,) = appended(late, event(4))
    assert {record.event().id for record in log.read(JOBS, 0, 10)} == {"id-1", "id-4"}
    polled: set[str] = set()
    ends_s = time.monotonic() + TIMEOUT_S
    while "id-4" not in polled and time.monotonic() < ends_s:
        polled |= {record.event().id for record in consumer.poll(10, 1.0)}
    assert polled == {"id-4"}
    consumer.commit()
    assert consumer.committed() == {0: offset + 1}
    consumer.close()


def test_a_broker_that_hangs_is_given_up_on_and_what_waits_is_bounded(open_kafka, mortal):
    log = open_kafka(mortal, **LIMITS, kafka_buffer_bytes=1024 * 1024)
    appended(log, event(0))
    mortal.pause()
    try:
        with pytest.raises(UnavailableError, match=r"did not acknowledge|busy or away"):
            log.append(JOBS, b"k", [event(1)])
        began_s = time.monotonic()
        with pytest.raises(UnavailableError, match="Too many events wait"):
            log.write(JOBS, [Message(key=b"k", value=b"x" * 1024)] * 2_000)
        assert time.monotonic() - began_s < 0.5
    finally:
        mortal.resume()
    appended(log, event(2))
    assert b"id-2" in [record.headers.get("ce_id") for record in log.read(JOBS, 0, 10_000)]


def test_a_log_that_is_closed_refuses(mortal):
    settings = KafkaSettings(kafka_create_topics=True, kafka_replication=1)
    log = KafkaEventLog(mortal.bootstrap, settings)
    log.close()
    with pytest.raises(UnavailableError, match="closed"):
        log.append(JOBS, b"k", [event(1)])
