# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor hears: predictions, and the true labels that follow. What does not hold here is poison.

Owns the two nouns and the limits of their fields; knows nothing of bytes or topics.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from dragoman_common.errors import InvalidArgumentError
from dragoman_monitor.sketch import MAX_VALUE

SHADOW: Final = "shadow"
ARMS: Final = ("stable", "canary", SHADOW)
OK: Final = "OK"

MAX_NAME_BYTES: Final = 256
"""Tenant, request id, model and subject: longer ones are no names of ours."""
MAX_LABEL_CHARS: Final = 128
"""Of a label, as in a model's package: a longer one is no label of any model. It bounds what one label can take."""
MAX_LABEL_BYTES: Final = 4 * MAX_LABEL_CHARS
MAX_ROW: Final = 1_000_000
MAX_STANDS_FOR: Final = 10_000_000
MAX_TIME_US: Final = 253_402_300_799_999_999
"""The end of the year 9999, the last that protobuf's Timestamp knows."""

_CODE: Final = re.compile(r"[A-Z][A-Z_]{1,31}")


@dataclass(frozen=True, slots=True, order=True)
class RowKey:
    """Names one row of one call: a prediction and its label share it."""

    tenant: str
    request_id: str
    row: int

    def __post_init__(self) -> None:
        check_text("tenant", self.tenant, MAX_NAME_BYTES)
        check_text("request_id", self.request_id, MAX_NAME_BYTES)
        if not 0 <= self.row <= MAX_ROW:
            raise InvalidArgumentError(f"row is {self.row}; it must lie in 0..{MAX_ROW}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One row answered, or refused after it had a version.

    Raises:
        InvalidArgumentError: a field is outside its limits; the text names it.
    """

    key: RowKey
    model: str
    version: int
    arm: str
    code: str
    """OK, or the status code name that the caller got."""
    label: str
    """Empty where the row was refused."""
    score: float
    num_tokens: int
    num_unknown_tokens: int
    is_truncated: bool
    accept_time_us: int
    """Microseconds since 1970, UTC."""
    latency_ms: float
    stands_for: int = 1
    """Requests that the event stands for, where a tenant's events are sampled."""

    def __post_init__(self) -> None:
        check_text("model", self.model, MAX_NAME_BYTES)
        if self.version < 1:
            raise InvalidArgumentError(f"version is {self.version}; versions begin at 1.")
        if self.arm not in ARMS:
            raise InvalidArgumentError(f"arm is {self.arm[:20]!r}; it must be one of {', '.join(ARMS)}.")
        if not _CODE.fullmatch(self.code):
            raise InvalidArgumentError(f"code is {self.code[:40]!r}; it must be a status code's name.")
        if not math.isfinite(self.latency_ms) or not 0 <= self.latency_ms <= MAX_VALUE:
            raise InvalidArgumentError(f"latency_ms is {self.latency_ms}; it must be finite, in 0..{MAX_VALUE:.0f}.")
        if not 0 <= self.num_unknown_tokens <= self.num_tokens:
            raise InvalidArgumentError(
                f"num_unknown_tokens is {self.num_unknown_tokens} of {self.num_tokens} tokens; it cannot be."
            )
        check_time("accept_time", self.accept_time_us)
        if not 1 <= self.stands_for <= MAX_STANDS_FOR:
            raise InvalidArgumentError(f"sampledrate is {self.stands_for}; it must lie in 1..{MAX_STANDS_FOR}.")
        if self.code == OK:
            check_label("label", self.label)
            # A softmax in float32 can end a few units of the last place above 1.
            if not math.isfinite(self.score) or not 0 <= self.score <= 1 + 1e-5:
                raise InvalidArgumentError(f"score is {self.score}; a softmax score is finite and lies in 0..1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A true label for a row. Of several for one row the latest holds; equal times are settled by the text."""

    key: RowKey
    text: str
    receive_time_us: int

    def __post_init__(self) -> None:
        check_label("true_label", self.text)
        check_time("receive_time", self.receive_time_us)

    def is_newer_than(self, other: "Label") -> bool:
        """A total order, so that any order of arrival ends with the same label."""
        return (self.receive_time_us, self.text) > (other.receive_time_us, other.text)


def check_text(field: str, value: str, max_bytes: int) -> None:
    """Refuse what is empty, too long, or holds the one character that databases refuse.

    Raises:
        InvalidArgumentError: names the field and the limit.
    """
    if not value:
        raise InvalidArgumentError(f"{field} is empty.")
    if len(value) > max_bytes or len(value.encode()) > max_bytes:
        raise InvalidArgumentError(f"{field} is longer than {max_bytes} bytes.")
    if "\0" in value:
        raise InvalidArgumentError(f"{field} holds a NUL character.")


def check_label(field: str, value: str) -> None:
    """Refuse what cannot be a label of any model.

    Raises:
        InvalidArgumentError: names the field and the limit.
    """
    check_text(field, value, MAX_LABEL_BYTES)
    if len(value) > MAX_LABEL_CHARS:
        raise InvalidArgumentError(f"{field} is longer than {MAX_LABEL_CHARS} characters.")


def check_time(field: str, time_us: int) -> None:
    """Refuse a time that is missing (0) or outside of what protobuf can say.

    Raises:
        InvalidArgumentError: names the field.
    """
    if not 0 < time_us <= MAX_TIME_US:
        raise InvalidArgumentError(f"{field} is missing, or not between 1970 and 9999.")
