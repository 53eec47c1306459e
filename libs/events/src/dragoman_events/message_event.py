# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Protobuf messages as events, and back: the one mapping that every producer and consumer of ours uses.

Prediction{...} -> CloudEvent(type = dataschema = the message's full name, data = its bytes) -> Prediction{...}
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from dragoman_common.errors import InvalidArgumentError
from dragoman_events.cloud_event import PROTOBUF, CloudEvent, new_event_id

M = TypeVar("M", bound=Message)


def event_of(
    message: Message,
    *,
    source: str,
    subject: str = "",
    extensions: Mapping[str, str] | None = None,
    event_id: str | None = None,
    time: datetime | None = None,
) -> CloudEvent:
    """Wrap a message of ``dragoman.events.v1``.

    Args:
        message: the event's value.
        source: who says so, for instance ``dragoman/gateway``.
        subject: what it is about: ``model/version``, a job id.
        extensions: requestid, modelid, modelversion, arm, tenant, traceparent ...; entries with an empty value are left
            out, because CloudEvents knows no empty attribute.
        event_id: an id that was minted earlier (at acceptance, before a retry); a fresh one by default.
        time: when it happened; now by default.

    Raises:
        InvalidArgumentError: an attribute is not allowed in an envelope.
    """
    name = message.DESCRIPTOR.full_name
    return CloudEvent(
        id=event_id or new_event_id(),
        source=source,
        type=name,
        subject=subject,
        time=time or datetime.now(UTC),
        data=message.SerializeToString(deterministic=True),
        content_type=PROTOBUF,
        dataschema=f"proto:{name}",
        extensions={key: value for key, value in (extensions or {}).items() if value},
    )


def message_of(event: CloudEvent, kind: type[M]) -> M:
    """Read the message in an event.

    Raises:
        InvalidArgumentError: the event is of another type or content type, or its bytes do not parse.
    """
    name = kind.DESCRIPTOR.full_name
    if event.type != name:
        raise InvalidArgumentError(f"The event's type is {event.type[:100]!r}; expected {name!r}.")
    if event.content_type != PROTOBUF:
        raise InvalidArgumentError(f"The content-type is {event.content_type[:100]!r}; expected {PROTOBUF!r}.")
    message = kind()
    try:
        message.ParseFromString(event.data)
    except DecodeError as error:
        raise InvalidArgumentError(f"The data does not parse as {name}.") from error
    return message
