# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What Kafka's client hands over, as a record of ours."""

from confluent_kafka import Message as KafkaMessage

from dragoman_events.ports import Record


def record_of(topic: str, message: KafkaMessage) -> Record:
    """The record in a message without error, under our name of its topic.

    Headers whose names are not UTF-8 read as none, so that whoever reads finds no CloudEvent, and not a crash.
    """
    try:
        headers = dict(message.headers() or ())
    except (UnicodeDecodeError, SystemError):
        headers = {}
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
