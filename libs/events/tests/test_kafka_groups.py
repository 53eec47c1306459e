# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Groups on a real Kafka: several partitions, handed from one consumer to another, read from where somebody says."""

import os
import signal
import subprocess
import sys
import time

import pytest
from confluent_kafka import TopicPartition

from dragoman_events.contracts import event
from dragoman_events.ports import Message, OffsetOutOfRangeError
from dragoman_events.topics import FEEDBACK, PREDICTIONS, message_key

pytestmark = pytest.mark.slow

TIMEOUT_S = 30.0
# The least that a broker for tests takes.
SHORT_SESSION_MS = 1_000


@pytest.fixture
def log(open_kafka, kafka_broker):
    return open_kafka(kafka_broker, kafka_session_timeout_ms=1_500)


def written(log, count, topic=PREDICTIONS):
    """Write events with keys of their own; returns their ids."""
    log.write(topic, [Message.of(message_key("acme", f"r-{n}"), event(n)) for n in range(count)])
    return {f"id-{n}" for n in range(count)}


def ids(records):
    return {record.event().id for record in records}


def polled(consumers, enough):
    """Poll in turn until `enough(records)`; returns the records."""
    records = []
    ends_s = time.monotonic() + TIMEOUT_S
    while not enough(records):
        assert time.monotonic() < ends_s, f"only {len(records)} records"
        for consumer in consumers:
            records += consumer.poll(100, 0.2)
    return records


def test_one_calls_events_share_a_partition_number_and_keep_their_order(log):
    written(log, 40)
    written(log, 40, FEEDBACK)
    places = {}
    for topic in (PREDICTIONS, FEEDBACK):
        ends = log.end_offsets(topic)
        assert (len(ends), sum(ends.values())) == (6, 40)
        records = [r for p in ends for r in log.read(topic, 0, 100, partition=p)]
        places[topic] = {record.key: record.partition for record in records}
        assert [r.offset for r in records] == [n for end in ends.values() for n in range(end)]
    assert places[PREDICTIONS] == places[FEEDBACK]
    assert len(set(places[PREDICTIONS].values())) == 6


def test_offsets_come_back_in_the_order_given_whatever_their_partitions(log):
    messages = [Message.of(message_key("acme", f"r-{n}"), event(n)) for n in range(30)]
    offsets = log.write(PREDICTIONS, messages)
    found = {
        record.event().id: record.offset
        for p in log.end_offsets(PREDICTIONS)
        for record in log.read(PREDICTIONS, 0, 100, partition=p)
    }
    assert [found[f"id-{n}"] for n in range(30)] == offsets


def test_a_partition_that_does_not_exist_reads_as_nothing(log):
    written(log, 10)
    assert log.read(PREDICTIONS, 0, 10, partition=6) == []


def test_two_consumers_share_the_partitions_and_the_survivor_gets_all(log):
    one, other = log.consumer(PREDICTIONS, "g"), log.consumer(PREDICTIONS, "g")
    shared = written(log, 60)
    by = {one: [], other: []}
    ends_s = time.monotonic() + TIMEOUT_S
    # Until both have a share: the first of them may have all partitions for a moment.
    while not (by[one] and by[other] and ids(by[one] + by[other]) == shared):
        assert time.monotonic() < ends_s
        for consumer in by:
            by[consumer] += consumer.poll(100, 0.1)
            consumer.commit()
        if not all(by.values()):
            shared |= written(log, 60)
    one.close()
    more = {f"more-{n}" for n in range(60)}
    log.write(PREDICTIONS, [Message(key=name.encode(), value=name.encode()) for name in more])
    rest = polled([other], lambda records: {r.value.decode() for r in records} >= more)
    assert {r.partition for r in rest} == set(range(6))
    other.close()


def test_partitions_start_where_a_seek_before_their_assignment_said(log):
    written(log, 60)
    ends = log.end_offsets(PREDICTIONS)
    truth = {partition: end // 2 for partition, end in ends.items()}
    consumer = log.consumer(PREDICTIONS, "g")
    consumer.seek(truth)
    expected = {(p, offset) for p, end in ends.items() for offset in range(truth[p], end)}
    records = polled([consumer], lambda records: len(records) >= len(expected))
    assert len(records) == len(expected)
    assert {(r.partition, r.offset) for r in records} == expected
    consumer.commit()
    assert consumer.committed() == ends
    consumer.close()


def test_a_seek_while_reading_moves_back_and_forth_and_repeats_nothing_else(log):
    written(log, 60)
    consumer = log.consumer(PREDICTIONS, "g")
    polled([consumer], lambda records: len(records) == 60)
    end = log.end_offsets(PREDICTIONS)[3]
    consumer.seek({3: 1})
    again = polled([consumer], lambda records: len(records) >= end - 1)
    assert [(3, n) for n in range(1, end)] == [(r.partition, r.offset) for r in again]
    consumer.seek({3: 0})
    consumer.seek({3: end})
    assert consumer.poll(10, 0.5) == []
    consumer.close()


def test_a_gap_is_told_for_its_partition_and_the_others_go_on_after_a_seek(log, kafka_broker):
    written(log, 60)
    ends = log.end_offsets(PREDICTIONS)
    admin, name = kafka_broker.admin(), log._topics.name(PREDICTIONS)
    for dropped in admin.delete_records([TopicPartition(name, 2, 3)]).values():
        dropped.result(30)
    consumer = log.consumer(PREDICTIONS, "g")
    consumer.seek(dict.fromkeys(ends, 0))
    records = []
    ends_s = time.monotonic() + TIMEOUT_S
    gap = None
    while len(records) < 57 and time.monotonic() < ends_s:
        try:
            records += consumer.poll(100, 0.5)
        except OffsetOutOfRangeError as error:
            gap = error
            consumer.seek({error.partition: error.oldest})
    assert (gap.topic, gap.partition, gap.position, gap.oldest, gap.end) == (PREDICTIONS, 2, 0, 3, ends[2])
    assert len({(r.partition, r.offset) for r in records}) == len(records) == 57
    consumer.close()


def test_a_commit_by_whoever_lost_the_partitions_is_passed_over(log):
    written(log, 60)
    one = log.consumer(PREDICTIONS, "g")
    polled([one], lambda records: len(records) == 60)
    one.commit()
    before = one.committed()
    other = log.consumer(PREDICTIONS, "g")
    # Until the other has its share, and `one` has given it up.
    ends_s = time.monotonic() + TIMEOUT_S
    while not other._assigned or len(one._assigned) == 6:
        assert time.monotonic() < ends_s
        one.poll(1, 0.1)
        other.poll(1, 0.1)
    lost = min(other._assigned)
    one.commit({lost: 0})
    assert one.committed() == before
    one.close()
    other.close()


PAUSED = """
import sys
from dragoman_events.kafka_log import KafkaEventLog
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_events.topics import PREDICTIONS
log = KafkaEventLog(sys.argv[1], KafkaSettings(kafka_replication=1, kafka_prefix=sys.argv[2],
                                               kafka_session_timeout_ms=int(sys.argv[3])))
consumer = log.consumer(PREDICTIONS, "g")
while not (records := consumer.poll(10, 1.0)):
    pass
print("read", flush=True)
sys.stdin.readline()
consumer.commit({record.partition: 0 for record in records})
print("committed", flush=True)
seen = [(record.partition, record.offset) for record in consumer.poll(100, 0.5)]
print(sorted(consumer._positions.items()), flush=True)
consumer.close()
log.close()
"""


def test_a_consumer_that_was_paused_beyond_its_session_is_fenced(open_kafka, kafka_broker):
    log = open_kafka(kafka_broker, kafka_session_timeout_ms=SHORT_SESSION_MS)
    expected = written(log, 60)
    paused = subprocess.Popen(
        [
            *(sys.executable, "-c", PAUSED, kafka_broker.bootstrap),
            *(log._settings.kafka_prefix, str(SHORT_SESSION_MS)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert paused.stdout.readline() == "read\n"
        os.kill(paused.pid, signal.SIGSTOP)
        # It holds all partitions until its session is over.
        other = log.consumer(PREDICTIONS, "g")
        records = polled([other], lambda records: ids(records) == expected)
        assert len(records) == 60
        other.commit()
        committed = other.committed()
        os.kill(paused.pid, signal.SIGCONT)
        paused.stdin.write("\n")
        paused.stdin.flush()
        assert paused.stdout.readline() == "committed\n"
        # What the fenced one said last is not what the group knows.
        assert other.committed() == committed
        other.close()
    finally:
        os.kill(paused.pid, signal.SIGCONT)
        paused.communicate(timeout=TIMEOUT_S)
