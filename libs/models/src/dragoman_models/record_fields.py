# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The parts that signed records share: canonical JSON, and the typed values in it.

One record has one byte form: keys sorted, no white space, no fractional numbers. A payload in any other form is
refused, so that equal records and equal digests are the same thing. Which records there are is each record's module's.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.fields import Fields, JsonValue
from dragoman_models.file_digest import is_digest
from dragoman_text.strict_json import parse_object

MAX_PAYLOAD_BYTES = 4 << 20
MAX_REASON_CHARS = 1024
# The largest integer that every JSON reader keeps exactly (RFC 7493, section 2.2).
MAX_INTEGER = 2**53 - 1

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


class Record(Protocol):
    """Anything that is signed."""

    def to_payload(self) -> bytes:
        """Write the canonical JSON."""
        ...


R = TypeVar("R", bound=Record)


def canonical_json(content: Mapping[str, object]) -> bytes:
    """Write JSON in the one form that is signed.

    Raises:
        InvalidArgumentError: text that is not Unicode (a lone surrogate).

    Source: RFC 8785; deviation: no fractional numbers occur, and keys are ASCII, so its number and key rules are met
    by integers and plain sorting.
    """
    try:
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("the record holds text that is not valid Unicode") from error


def time_text(time: datetime) -> str:
    """Write an aware time as RFC 3339 in UTC with microseconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def canonical(record: R, payload: bytes, what: str) -> R:
    """Return the record if the payload is its one byte form.

    Raises:
        InvalidArgumentError: it is another.
    """
    if record.to_payload() != payload:
        raise InvalidArgumentError(f"{what}: the payload is not in canonical form")
    return record


def payload_object(payload: bytes, what: str) -> dict[str, JsonValue]:
    """Return the JSON object of a payload.

    Raises:
        InvalidArgumentError: too large, or no strict JSON object.
    """
    return parse_object(payload, what=what, max_bytes=MAX_PAYLOAD_BYTES)


def text_value(value: JsonValue, what: str) -> str:
    """Return a text, which may be empty.

    Raises:
        InvalidArgumentError: no text.
    """
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{what} must be text")
    return value


def sha256_field(fields: Fields, key: str, *, may_be_empty: bool = False) -> str:
    """Return a digest in hex.

    Raises:
        InvalidArgumentError: none.
    """
    value = fields.raw(key)
    if not isinstance(value, str) or not (is_digest(value) or (may_be_empty and not value)):
        raise InvalidArgumentError(f"{fields.what}: {key} must be 64 lower-case hexadecimal digits")
    return value


def time_field(fields: Fields, key: str) -> datetime:
    """Return an aware time that time_text wrote.

    Raises:
        InvalidArgumentError: none.
    """
    text = fields.text(key, max_chars=32)
    if not _TIME.fullmatch(text):
        raise InvalidArgumentError(f"{fields.what}: {key} must be a time in UTC with microseconds")
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidArgumentError(f"{fields.what}: {key} is not a time") from error
