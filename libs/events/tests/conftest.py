# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Real brokers, and logs on them that see nothing of each other."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from dragoman_events.kafka_log import KafkaEventLog
from dragoman_events.kafka_settings import KafkaSettings
from tests.parts import kafka
from tests.parts.kafka import KafkaBroker
from tests.parts.missing import required

# Whoever waits for nothing but a busy machine waits long.
PATIENT = {"kafka_request_timeout_ms": 30_000, "kafka_delivery_timeout_ms": 30_000}

OpenLog = Callable[..., KafkaEventLog]


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory) -> Iterator[KafkaBroker]:
    """A broker for tests that leave it alone."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("kafka")
        yield required("kafka", lambda: stack.enter_context(kafka.running(folder)))


@pytest.fixture
def open_kafka() -> Iterator[OpenLog]:
    """Opens logs on a broker: those of one test share its topics, with nobody else; changes are KafkaSettings."""
    prefix = f"t{secrets.token_hex(6)}."
    with ExitStack() as stack:

        def open_one(broker: KafkaBroker, **changes) -> KafkaEventLog:
            settings = {"kafka_create_topics": True, "kafka_replication": 1, "kafka_prefix": prefix} | PATIENT | changes
            log = KafkaEventLog(broker.bootstrap, KafkaSettings(**settings))
            stack.callback(log.close)
            return log

        yield open_one
