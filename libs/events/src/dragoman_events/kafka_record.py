# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What Kafka's client hands over, as a record of ours."""

from confluent_kafka import Message as KafkaMessage

from dragoman_events.ports import Record


def record_of(topic: str, message: KafkaMessage) -> Record:
    """The record in a message without error, under our name of its topic.

    A header name that is not UTF-8 ends the process: confluent-kafka 2.16.1 crashes in ``headers()`` (README, Kafka).
    """
    headers = dict(message.headers() or ())
    return Record(
        topic=topic,
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=message.key() or b"",
        headers={name: _bytes(value) for name, value in headers.items()},
        value=message.value() or b"",
    )


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
