# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Topics on a real Kafka are made as the table says, found as it says, or refused in words that help."""

import secrets
import threading

import pytest
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from dragoman_common.errors import FailedPreconditionError, InvalidArgumentError
from dragoman_events.contracts import event
from dragoman_events.ports import Message
from dragoman_events.topics import DEAD_LETTERS, LAYOUTS, PREDICTIONS, TOPICS

pytestmark = pytest.mark.slow


def config_of(broker, name):
    admin = broker.admin()
    (answer,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).values()
    return {entry.name: entry.value for entry in answer.result(30).values()}


def make(broker, name, partitions, **config):
    admin = broker.admin()
    (made,) = admin.create_topics([NewTopic(name, partitions, 1, config=config)]).values()
    made.result(30)


def test_every_topic_has_a_layout():
    assert set(LAYOUTS) == set(TOPICS)


def test_topics_are_made_with_their_partitions_and_lifetimes(open_kafka, kafka_broker):
    log = open_kafka(kafka_broker)
    for topic, layout in LAYOUTS.items():
        assert log.end_offsets(topic) == dict.fromkeys(range(layout.num_partitions), 0)
        config = config_of(kafka_broker, log._topics.name(topic))
        assert config["retention.ms"] == str(layout.retention_ms)
        assert (config["cleanup.policy"], config["min.insync.replicas"]) == ("delete", "1")


def test_services_that_start_together_make_them_once_and_all_start(open_kafka, kafka_broker):
    logs, errors = [], []

    def start():
        try:
            logs.append(open_kafka(kafka_broker))
        except Exception as error:  # noqa: BLE001  whatever a thread died of
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(logs) == 4


def test_a_service_that_may_not_make_topics_says_which_are_missing(open_kafka, kafka_broker):
    with pytest.raises(
        FailedPreconditionError, match=r"dragoman\.predictions \(6 partitions, retention\.ms=2592000000\)"
    ):
        open_kafka(kafka_broker, kafka_create_topics=False)
    open_kafka(kafka_broker)
    open_kafka(kafka_broker, kafka_create_topics=False)


def test_an_unknown_topic_reads_as_empty_and_is_not_made_by_looking(open_kafka, kafka_broker):
    log = open_kafka(kafka_broker)
    assert log.end_offsets("nobody.writes") == {0: 0}
    assert log.read("nobody.writes", 0, 10) == []
    assert log._topics.name("nobody.writes") not in kafka_broker.admin().list_topics(timeout=30).topics


@pytest.mark.parametrize(
    ("partitions", "config", "problem"),
    [
        (1, {}, "it has 1 partitions and must have 6"),
        (6, {"retention.ms": "1000"}, "retention.ms is 1000 and must be 2592000000 or more"),
        (6, {"cleanup.policy": "compact"}, "cleanup.policy is compact and must be delete"),
    ],
)
def test_a_topic_that_is_not_as_it_must_be_is_refused(open_kafka, kafka_broker, partitions, config, problem):
    prefix = f"t{secrets.token_hex(6)}."
    make(kafka_broker, prefix + PREDICTIONS, partitions, **({"retention.ms": "-1"} | config))
    with pytest.raises(FailedPreconditionError, match=problem):
        open_kafka(kafka_broker, kafka_prefix=prefix)


def test_fewer_copies_than_asked_for_are_refused(open_kafka, kafka_broker):
    open_kafka(kafka_broker)
    with pytest.raises(FailedPreconditionError, match="it has 1 replicas and must have 3 or more"):
        open_kafka(kafka_broker, kafka_replication=3, kafka_create_topics=False)


def test_a_message_larger_than_kafka_takes_is_refused_as_such(open_kafka, kafka_broker):
    log = open_kafka(kafka_broker)
    with pytest.raises(InvalidArgumentError, match="larger than Kafka takes"):
        log.write(DEAD_LETTERS, [Message(key=b"k", value=b"x" * 3_000_000)])
    assert log.append(DEAD_LETTERS, b"k", [event(1)]) == [0]
