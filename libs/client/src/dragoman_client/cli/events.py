# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""events tail: the event log of this machine, as it is written."""

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict

from dragoman.events.v1 import events_pb2
from dragoman_client.cli.event_line import event_line
from dragoman_client.cli.output import print_json, say
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.local.event_log import log_of
from dragoman_common.errors import DragomanError, NotFoundError
from dragoman_events.cloud_event import CloudEvent
from dragoman_events.message_event import message_of
from dragoman_events.ports import EventLog, Record
from dragoman_events.topics import TOPICS

app = typer.Typer(help="The event log.", no_args_is_help=True)

_POLL_S = 0.2
_MAX_RECORDS = 500
_KINDS = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        events_pb2.Prediction,
        events_pb2.Feedback,
        events_pb2.VersionPublished,
        events_pb2.AliasMoved,
        events_pb2.JobChanged,
        events_pb2.DeadLetter,
    )
}


@app.callback()
def events() -> None:
    """The event log."""


@app.command()
def tail(
    ctx: typer.Context,
    *,
    topic: Annotated[list[str] | None, typer.Option(help="dragoman.predictions and so on; all when not given.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as events are written.")] = False,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="From the oldest event; the last 10 of each partition otherwise.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print events."""
    home = session_of(ctx).home
    topics = tuple(topic or TOPICS)
    unknown = sorted(set(topics) - set(TOPICS))
    if unknown:
        raise NotFoundError(f"no such topic: {', '.join(unknown)}; there are {', '.join(TOPICS)}")
    log = log_of(home)
    try:
        for record in _records(log, topics, from_start=from_start, follow=follow):
            document = event_document(record)
            if as_json:
                print_json(document)
            else:
                say(event_line(document))
    finally:
        log.close()


def event_document(record: Record) -> dict[str, Any]:
    """One record of the log; its data in the proto's JSON form, or null where it is not one of ours."""
    try:
        event = record.event()
    except DragomanError:
        event = None
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "id": event.id if event else None,
        "type": event.type if event else None,
        "source": event.source if event else None,
        "subject": event.subject if event else None,
        "time": event.time.isoformat().replace("+00:00", "Z") if event else None,
        "extensions": dict(event.extensions) if event else {},
        "data": _data(event) if event else None,
    }


def _data(event: CloudEvent) -> dict[str, Any] | None:
    kind = _KINDS.get(event.type)
    if kind is None:
        return None
    try:
        message = message_of(event, kind)
    except DragomanError:
        return None
    return MessageToDict(message, preserving_proto_field_name=True)


def _records(log: EventLog, topics: tuple[str, ...], *, from_start: bool, follow: bool) -> Iterator[Record]:
    """In the order of each partition; between partitions and topics there is none."""
    ends = {(name, partition): end for name in topics for partition, end in log.end_offsets(name).items()}
    offsets = {place: 0 if from_start else max(0, end - 10) for place, end in ends.items()}
    while True:
        idle = True
        for (name, partition), end in ends.items():
            # Without follow the end is the one seen at the start, so that the command ends while others write.
            if not follow and offsets[name, partition] >= end:
                continue
            for record in log.read(name, offsets[name, partition], _MAX_RECORDS, partition=partition):
                if follow or record.offset < end:
                    yield record
                    idle = False
                offsets[name, partition] = record.offset + 1
        if idle and not follow:
            return
        if idle:
            time.sleep(_POLL_S)
