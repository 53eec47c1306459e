# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What stands in Kafka's topics, as others see it who know nothing of us: architecture.md 5 over a real broker."""

import warnings
from contextlib import closing

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as TheirEvent
from confluent_kafka import Consumer, Producer, TopicPartition

from dragoman.events.v1 import events_pb2 as pb
from dragoman_common.errors import InvalidArgumentError
from dragoman_events.kafka_record import UNREADABLE_HEADER
from dragoman_events.message_event import event_of, message_of
from dragoman_events.ports import Message
from dragoman_events.topics import DEAD_LETTERS, JOBS, PREDICTIONS, message_key

with warnings.catch_warnings():
    # It reads its own files by a way that Python wants to drop.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaConsumer as PureConsumer
    from kafka import KafkaProducer as PureProducer

pytestmark = pytest.mark.slow

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PREDICTION = pb.Prediction(tenant="acme", request_id="r-1", model="r8", version=3, arm="stable", score=0.5)
EXTENSIONS = {
    "requestid": "r-1",
    "modelid": "r8",
    "modelversion": "3",
    "arm": "stable",
    "tenant": "acme",
    "traceparent": TRACE,
}
# From the tests of the Java client (UtilsTest.testMurmur2).
MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


class AsBytes(JSONFormat):
    """Data untouched, as a protobuf consumer needs it."""

    def read_data(self, body, _):
        return body


@pytest.fixture
def log(open_kafka, kafka_broker):
    return open_kafka(kafka_broker)


def ours():
    return event_of(PREDICTION, source="dragoman/gateway", subject="r8/3", extensions=EXTENSIONS)


def raw(broker, name, partition):
    """The first message of a partition, by a client of our own making."""
    consumer = Consumer(broker.client_settings() | {"group.id": "raw", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(name, partition, 0)])
        (message,) = consumer.consume(1, timeout=30)
        return message
    finally:
        consumer.close()


def filled(log, topic):
    return next(partition for partition, end in log.end_offsets(topic).items() if end)


def test_the_cloudevents_package_reads_what_we_write(log, kafka_broker):
    event = ours()
    log.append(PREDICTIONS, message_key("acme", "r-1"), [event])
    message = raw(kafka_broker, log._topics.name(PREDICTIONS), filled(log, PREDICTIONS))
    headers = dict(message.headers())
    assert message.key() == b"acme/r-1"
    assert headers["content-type"] == b"application/protobuf"
    assert headers["ce_specversion"] == b"1.0"
    assert "ce_datacontenttype" not in headers
    assert {name for name in headers if not name.startswith("ce_")} == {"content-type", "traceparent"}
    assert headers["traceparent"] == headers["ce_traceparent"] == TRACE.encode()
    theirs = from_binary(KafkaMessage(headers=headers, key=message.key(), value=message.value()), AsBytes())
    assert (theirs.get_id(), theirs.get_type(), theirs.get_subject()) == (
        event.id,
        "dragoman.events.v1.Prediction",
        "r8/3",
    )
    assert {name: theirs.get_attributes()[name] for name in EXTENSIONS} == EXTENSIONS
    assert pb.Prediction.FromString(theirs.get_data()) == PREDICTION


def test_we_read_what_the_cloudevents_package_writes(log, kafka_broker):
    event = ours()
    attributes = {
        "id": event.id,
        "source": event.source,
        "specversion": "1.0",
        "type": event.type,
        "time": event.time,
        "datacontenttype": event.content_type,
        "subject": event.subject,
        "dataschema": event.dataschema,
    }
    theirs = to_binary(TheirEvent(attributes | EXTENSIONS, event.data), AsBytes())
    producer = Producer(kafka_broker.client_settings())
    producer.produce(log._topics.name(JOBS), key=b"k", value=theirs.value, headers=theirs.headers)
    assert producer.flush(30) == 0
    (record,) = log.read(JOBS, 0, 10)
    assert record.event() == event
    assert message_of(record.event(), pb.Prediction) == PREDICTION


def test_a_key_has_the_partition_that_the_java_client_gives_it(log):
    log.write(PREDICTIONS, [Message(key=key) for key in MURMUR2])
    found = {r.key: r.partition for p in range(6) for r in log.read(PREDICTIONS, 0, 100, partition=p)}
    assert {key: (hashed & 0x7FFFFFFF) % 6 for key, hashed in MURMUR2.items()} == found


def test_a_pure_python_client_reads_and_writes_the_same(log, kafka_broker):
    log.append(PREDICTIONS, message_key("acme", "r-1"), [ours()])
    name, partition = log._topics.name(PREDICTIONS), filled(log, PREDICTIONS)
    consumer = PureConsumer(name, bootstrap_servers=kafka_broker.bootstrap, auto_offset_reset="earliest")
    record = next(consumer)
    consumer.close()
    assert (record.partition, record.key, record.value) == (partition, b"acme/r-1", ours().data)
    producer = PureProducer(bootstrap_servers=kafka_broker.bootstrap)
    sent = producer.send(name, key=record.key, value=record.value, headers=record.headers).get(30)
    producer.close()
    assert (sent.partition, sent.offset) == (partition, 1)
    first, second = log.read(PREDICTIONS, 0, 10, partition=partition)
    assert (first.key, first.headers, first.value) == (second.key, second.headers, second.value)


def test_poison_of_every_kind_reaches_whoever_reads_as_a_record(log, kafka_broker):
    producer = PureProducer(bootstrap_servers=kafka_broker.bootstrap)
    name = log._topics.name(DEAD_LETTERS)
    poison = [
        {"value": b"no headers at all"},
        {"key": b"tombstone", "value": None},
        {"value": b"twice", "headers": [("ce_id", b"1"), ("ce_id", b"2")]},
        {"value": b"large" * 190_000},
    ]
    for message in poison:
        producer.send(name, **message).get(30)
    producer.close()
    records = log.read(DEAD_LETTERS, 0, 10)
    assert [message["value"] or b"" for message in poison] == [record.value for record in records]
    consumer = log.consumer(DEAD_LETTERS, "g")
    polled = []
    while len(polled) < len(poison):
        polled += consumer.poll(10, 10)
    assert polled == records
    consumer.close()


class CrookedName(str):
    """What no client of ours can send: a header name that is not UTF-8."""

    __slots__ = ()

    def encode(self, *_):
        return b"ce_\xff\xfe"


@pytest.mark.parametrize("num_crooked", [1, 2])
def test_a_header_name_that_is_not_utf_8_is_a_record_without_headers_and_reading_goes_on(
    log, kafka_broker, num_crooked
):
    name = log._topics.name(JOBS)
    crooked = [("before", b"1"), *[(CrookedName("x"), b"2")] * num_crooked, ("after", b"4")]
    producer = PureProducer(bootstrap_servers=kafka_broker.bootstrap)
    # More than the rounds after which the interpreter specialises a call.
    for i in range(200):
        producer.send(name, key=b"k", value=b"%d" % i, headers=crooked if i % 2 else [("n", b"%d" % i)])
    producer.close()
    with_group = []
    with closing(log.consumer(JOBS, "g")) as consumer:
        while len(with_group) < 200:
            with_group += consumer.poll(50, 10)
    for records in log.read(JOBS, 0, 300), with_group:
        assert [record.value for record in records] == [b"%d" % i for i in range(200)]
        assert [list(record.headers) for record in records] == [["n"], [UNREADABLE_HEADER]] * 100
    with pytest.raises(InvalidArgumentError, match="ce_specversion"):
        records[1].event()
