# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The envelope of every event: CloudEvents 1.0 in the binary mode of its Kafka binding.

Owns the attributes, their checks and their header names; knows nothing of what the data is.

    CloudEvent -> headers {ce_id, ce_source, ..., content-type} + value (the data, untouched) -> CloudEvent

Source: CloudEvents 1.0.2 core specification (attributes, type system) and Kafka protocol binding section 3.2
(binary mode: ``ce_`` prefix, UTF-8 values, ``content-type`` for datacontenttype).
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from dragoman_common.errors import InvalidArgumentError

SPEC_VERSION: Final = "1.0"
PROTOBUF: Final = "application/protobuf"
JSON: Final = "application/json"
CONTENT_TYPE_HEADER: Final = "content-type"
PREFIX: Final = "ce_"

MAX_ATTRIBUTE_BYTES: Final = 1024
"""Longest attribute value in bytes, so that an envelope stays small beside what it carries."""

_NAME: Final = re.compile(r"[a-z0-9]{1,20}")
# The specification's String type: no control characters and no unpaired surrogates.
_FORBIDDEN_TEXT: Final = re.compile("[\u0000-\u001f\u007f-\u009f\ud800-\udfff]")
_CORE: Final = frozenset(
    {"id", "source", "specversion", "type", "subject", "time", "datacontenttype", "dataschema", "data"}
)


def new_event_id() -> str:
    """A fresh id: 122 random bits, unique among all events without asking anybody."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """One event. ``source`` and ``id`` together name it: whoever repeats an event keeps its id.

    Raises:
        InvalidArgumentError: an attribute is missing, too long, or not what the specification allows.
    """

    id: str
    """Unique for its source; de-duplicate by it."""
    source: str
    """The service that says so, for instance ``dragoman/gateway``."""
    type: str
    """What happened: the full name of the data's protobuf message, which carries its version."""
    subject: str = ""
    """What it happened to: model/version, or a job; empty where there is none."""
    time: datetime
    """When it happened, with a time zone."""
    data: bytes = b""
    content_type: str = PROTOBUF
    dataschema: str = ""
    """Message name and version as a URI."""
    extensions: Mapping[str, str] = field(default_factory=dict)
    """For instance requestid, modelid, modelversion, arm, tenant, traceparent: lower-case letters and digits."""

    def __post_init__(self) -> None:
        for name in ("id", "source", "type", "content_type"):
            if not getattr(self, name):
                raise InvalidArgumentError(f"A CloudEvent needs {name}; it is empty.")
        for name in ("id", "source", "type", "subject", "content_type", "dataschema"):
            _check_value(name, getattr(self, name))
        if self.time.tzinfo is None:
            raise InvalidArgumentError("A CloudEvent's time needs a time zone.")
        for name, value in self.extensions.items():
            if name in _CORE or not _NAME.fullmatch(name):
                raise InvalidArgumentError(
                    f"{name!r} cannot be an extension: use 1 to 20 lower-case letters and digits, no name of the core."
                )
            _check_value(name, value)

    def to_headers(self) -> dict[str, bytes]:
        """The message headers; the message's value is ``data`` as it is."""
        attributes = {
            "id": self.id,
            "source": self.source,
            "specversion": SPEC_VERSION,
            "type": self.type,
            "time": _format_time(self.time),
        }
        if self.subject:
            attributes["subject"] = self.subject
        if self.dataschema:
            attributes["dataschema"] = self.dataschema
        attributes |= self.extensions
        headers = {PREFIX + name: value.encode() for name, value in attributes.items()}
        headers[CONTENT_TYPE_HEADER] = self.content_type.encode()
        return headers

    @classmethod
    def from_headers(cls, headers: Mapping[str, bytes], data: bytes) -> "CloudEvent":
        """Read an event back; headers without the ``ce_`` prefix belong to somebody else and are passed over.

        Raises:
            InvalidArgumentError: a required attribute is missing, or one is not allowed.
        """
        attributes = {
            name[len(PREFIX) :]: _text(name, value) for name, value in headers.items() if name.startswith(PREFIX)
        }
        if (found := attributes.pop("specversion", "")) != SPEC_VERSION:
            raise InvalidArgumentError(f"ce_specversion is {found[:20]!r}; this build reads {SPEC_VERSION!r}.")
        missing = [PREFIX + name for name in ("id", "source", "type", "time") if not attributes.get(name)]
        if CONTENT_TYPE_HEADER not in headers:
            missing.append(CONTENT_TYPE_HEADER)
        if missing:
            raise InvalidArgumentError(f"Headers are missing: {', '.join(missing)}.")
        return cls(
            id=attributes.pop("id"),
            source=attributes.pop("source"),
            type=attributes.pop("type"),
            time=_parse_time(attributes.pop("time")),
            subject=attributes.pop("subject", ""),
            dataschema=attributes.pop("dataschema", ""),
            content_type=_text(CONTENT_TYPE_HEADER, headers[CONTENT_TYPE_HEADER]),
            data=data,
            extensions=attributes,
        )


def _check_value(name: str, value: str) -> None:
    # Surrogates first: they have no UTF-8 form whose length could be taken.
    if _FORBIDDEN_TEXT.search(value):
        raise InvalidArgumentError(f"{name} holds a character that CloudEvents forbids (control or surrogate).")
    if len(value.encode()) > MAX_ATTRIBUTE_BYTES:
        raise InvalidArgumentError(f"{name} is longer than {MAX_ATTRIBUTE_BYTES} bytes.")


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"Header {name[:40]!r} is not UTF-8.") from error


def _format_time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _parse_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgumentError(f"ce_time {text[:40]!r} is not an RFC 3339 time.") from error
    if time.tzinfo is None:
        raise InvalidArgumentError(f"ce_time {text[:40]!r} has no time zone.")
    return time
