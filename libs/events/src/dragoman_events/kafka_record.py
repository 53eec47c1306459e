# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What Kafka's client hands over, as a record of ours."""

import operator
from typing import Final

from confluent_kafka import Message as KafkaMessage

from dragoman_events.ports import Record

UNREADABLE_HEADER: Final = "dragoman-unreadable"
"""Stands alone, in place of headers that the client cannot read; its value says why."""

# Not `message.headers()`: when a name is not UTF-8, confluent-kafka 2.16.1 leaves the error pending and returns a list
# with a hole. A call that the interpreter has specialised (3.11, after a few rounds) does not look for the error, and
# the hole ends the process. A call through the C API looks every time, and raises SystemError.
_headers = operator.methodcaller("headers")


def record_of(topic: str, message: KafkaMessage) -> Record:
    """The record in a message without error, under our name of its topic.

    A message with a header name that is not UTF-8 has no header but UNREADABLE_HEADER: it is no event, and not lost.
    """
    return Record(
        topic=topic,
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=message.key() or b"",
        headers=_read_headers(message),
        value=message.value() or b"",
    )


def _read_headers(message: KafkaMessage) -> dict[str, bytes]:
    try:
        headers = dict(_headers(message) or ())
    except SystemError:
        return {UNREADABLE_HEADER: b"a header name is not UTF-8"}
    return {name: _bytes(value) for name, value in headers.items()}


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
