# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The log on a real Kafka: the contract."""

import pytest
from confluent_kafka import TopicPartition

from dragoman_events.contracts import TOPIC, EventLogContract

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
