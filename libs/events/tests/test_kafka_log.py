# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The log on a real Kafka: the contract, and the producer's end."""

import pytest
from confluent_kafka import KafkaError, TopicPartition

from dragoman_common.errors import UnavailableError
from dragoman_events.contracts import TOPIC, EventLogContract, event
from dragoman_events.kafka_producer import _Group

pytestmark = pytest.mark.slow


class TestKafkaEventLog(EventLogContract):
    @pytest.fixture
    def log(self, open_kafka, kafka_broker):
        self.broker = kafka_broker
        return open_kafka(kafka_broker)

    def drop_before(self, log, offset):
        admin = self.broker.admin()
        (dropped,) = admin.delete_records([TopicPartition(log._topics.name(TOPIC), 0, offset)]).values()
        dropped.result(30)

    @pytest.mark.xfail(strict=True, reason="it reads ahead: what it has fetched it hands over, dropped or not")
    def test_a_message_dropped_under_a_running_consumer_is_out_of_range(self, log):
        super().test_a_message_dropped_under_a_running_consumer_is_out_of_range(log)


def test_a_producer_that_gave_up_for_good_is_replaced(open_kafka, kafka_broker, monkeypatch):
    log = open_kafka(kafka_broker)
    log.append(TOPIC, b"k", [event(1)])
    dead = log._writer._client
    # What a broker brings about that lost what it had acknowledged: from then on the library refuses everything.
    fatal = KafkaError(KafkaError._FATAL, "out of sequence", fatal=True)
    settle = _Group.settle
    monkeypatch.setattr(_Group, "settle", lambda group, index, _, message: settle(group, index, fatal, message))
    with pytest.raises(UnavailableError, match="out of sequence"):
        log.append(TOPIC, b"k", [event(2)])
    monkeypatch.undo()
    assert log.append(TOPIC, b"k", [event(3)])
    assert log._writer._client is not dead
    assert not dead._thread.is_alive()
