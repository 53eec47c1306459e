# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The broker that tests get keeps what it acknowledged, lets in only who it should, and listens on loopback alone."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.parts import kafka
from tests.parts.kafka import KafkaBroker
from tests.parts.listening import addresses
from tests.parts.missing import MissingPartError, required

RECORDS = 200
TIMEOUT_S = 60

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def broker(tmp_path_factory) -> Iterator[KafkaBroker]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("kafka")
        yield required("kafka", lambda: stack.enter_context(kafka.running(folder, killable=True)))


@pytest.fixture(scope="module")
def secured(tmp_path_factory) -> Iterator[KafkaBroker]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("secured")
        yield required("kafka", lambda: stack.enter_context(kafka.running(folder, secured=True)))


def written(broker: KafkaBroker, topic: str, values: list[bytes], **settings: str) -> None:
    """Return when the broker has acknowledged every value."""
    limits = {"acks": "all", "message.timeout.ms": TIMEOUT_S * 1000}
    producer = Producer(broker.client_settings() | limits | {key.replace("_", "."): settings[key] for key in settings})
    errors: list[KafkaError] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error) if error else None)
    assert producer.flush(TIMEOUT_S) == 0
    assert errors == []


def read(broker: KafkaBroker, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(broker.client_settings() | {"group.id": topic, "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [record.value() for record in consumer.consume(count, timeout=TIMEOUT_S)]
    finally:
        consumer.close()


def test_killed_broker_keeps_what_it_acknowledged(broker):
    topic = broker.make_topic()
    values = [b"%d" % i for i in range(RECORDS)]
    written(broker, topic, values[: RECORDS // 2])
    broker.restart()
    written(broker, topic, values[RECORDS // 2 :])
    broker.restart()
    assert read(broker, topic, RECORDS) == values


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_broker_reads_and_writes_every_compression(broker, compression):
    # The topic asks for another one, so the broker must take apart what comes and put it together again.
    topic = broker.make_topic(compression_type="snappy" if compression == "gzip" else "gzip")
    values = [b"%d" % i * 100 for i in range(RECORDS)]
    written(broker, topic, values, compression_type=compression)
    assert read(broker, topic, RECORDS) == values


def test_stopped_broker_starts_again_on_its_port(broker):
    topic, address = broker.make_topic(), broker.bootstrap
    written(broker, topic, [b"before"])
    broker.stop()
    broker.start()
    assert read(broker, topic, 1) == [b"before"]
    assert broker.bootstrap == address


def test_paused_broker_answers_nobody_until_it_is_resumed(broker):
    broker.pause()
    try:
        with pytest.raises(KafkaException):
            broker.admin().list_topics(timeout=1)
    finally:
        broker.resume()
    broker.wait_ready()


def test_no_topic_makes_itself(broker):
    producer = Producer(broker.client_settings() | {"message.timeout.ms": 2000, "log_level": 0})
    codes = []
    producer.produce("misspelt", b"", on_delivery=lambda error, _: codes.append(error.code()))
    producer.flush(TIMEOUT_S)
    assert codes in ([KafkaError.UNKNOWN_TOPIC_OR_PART], [KafkaError._MSG_TIMED_OUT], [KafkaError._UNKNOWN_TOPIC])
    assert "misspelt" not in broker.admin().list_topics(timeout=TIMEOUT_S).topics


def test_secured_broker_serves_its_user_over_tls_also_after_a_kill(secured):
    topic = secured.make_topic()
    written(secured, topic, [b"before"])
    secured.restart()
    assert read(secured, topic, 1) == [b"before"]


@pytest.mark.parametrize("differing", ["password", "authority", "protocol"])
def test_secured_broker_is_no_use_to_anybody_else(secured, differing, tmp_path):
    changed = {
        "password": {"password": "wrong"},
        "authority": {"ca_file": kafka.properties.secured(tmp_path)[1].ca_file},
        "protocol": {"protocol": "SASL_PLAINTEXT"},
    }[differing]
    stranger = KafkaBroker(None, bootstrap=secured.bootstrap, security=replace(secured.security, **changed))
    with pytest.raises(KafkaException):
        stranger.admin().list_topics(timeout=3)


def test_broker_process_listens_on_loopback_alone(secured):
    hosts = {host for host, _ in addresses(secured._host.pid)}
    assert hosts == {"127.0.0.1"}


def test_broker_of_the_environment_is_never_killed(broker, tmp_path, monkeypatch):
    monkeypatch.setenv("DRAGOMAN_TEST_KAFKA_BOOTSTRAP", broker.bootstrap)
    with kafka.running(tmp_path) as found:
        assert found.bootstrap == broker.bootstrap
        with pytest.raises(MissingPartError, match="not ours"):
            found.kill()
    broker.wait_ready()


def test_no_cluster_id_can_be_taken_for_an_option():
    assert not [drawn for drawn in (kafka.cluster_id() for _ in range(2_000)) if drawn.startswith("-")]
