# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Records as CloudEvents in the outbox: the Journal that the pipeline writes to.

    PredictionRecord -> Prediction -> CloudEvent -> dragoman.predictions        FeedbackRecord -> dragoman.feedback
    tenant -> durability: kept at all? -> outbox

A prediction's event id follows from its request id and row, so that a row can never count twice.
"""

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from dragoman.events.v1 import events_pb2 as pb
from dragoman_common.telemetry import traceparent
from dragoman_events import topics
from dragoman_events.cloud_event import CloudEvent
from dragoman_events.message_event import event_of
from dragoman_events.ports import Message
from dragoman_gateway.durability import Durabilities, Durability, Mode
from dragoman_gateway.group_commit import Outgoing
from dragoman_gateway.outbox import Outbox
from dragoman_gateway.record import FeedbackRecord, PredictionRecord

SOURCE = "dragoman/gateway"
Record = PredictionRecord | FeedbackRecord


class EventJournal:
    """See ports.Journal."""

    def __init__(self, outbox: Outbox, durabilities: Durabilities) -> None:
        self._outbox = outbox
        self._durabilities = durabilities

    async def record(self, records: Sequence[Record]) -> None:
        durability, outgoing = self._kept(records)
        if outgoing:
            await self._outbox.record(outgoing, durability.mode)

    def note(self, records: Sequence[Record]) -> None:
        durability, outgoing = self._kept(records)
        if outgoing:
            self._outbox.note(outgoing, durability.mode)

    def check_room(self, tenant: str) -> None:
        self._outbox.check_room(self._durabilities.of(tenant).mode)

    def _kept(self, records: Sequence[Record]) -> tuple[Durability, list[Outgoing]]:
        durability = self._durabilities.of(records[0].tenant)
        return durability, [outgoing_of(each, durability) for each in records if durability.keeps(each.request_id)]


def outgoing_of(record: Record, durability: Durability) -> Outgoing:
    """The message for one record."""
    sampling = {"sampledrate": str(durability.one_in)} if durability.mode is Mode.SAMPLED else {}
    if isinstance(record, PredictionRecord):
        return _prediction(record, sampling)
    return _feedback(record, sampling)


def _prediction(record: PredictionRecord, sampling: dict[str, str]) -> Outgoing:
    message = pb.Prediction(
        tenant=record.tenant,
        request_id=record.request_id,
        row=record.row,
        model=record.model,
        version=record.version,
        root_sha256=record.root_sha256,
        arm=record.arm,
        code=record.code,
        label=record.label,
        score=record.score,
        num_tokens=record.num_tokens,
        num_unknown_tokens=record.num_unknown_tokens,
        text_bytes=record.text_bytes,
        truncated=record.truncated,
        accept_time=_timestamp(record.accept_time),
        latency_ms=record.latency_ms,
        subject=record.subject,
    )
    event = event_of(
        message,
        source=SOURCE,
        subject=f"{record.model}/{record.version}",
        event_id=f"{record.request_id}/{record.row}",
        time=record.accept_time,
        extensions=_extensions(record)
        | {"modelid": record.model, "modelversion": str(record.version), "arm": record.arm}
        | sampling,
    )
    return _outgoing(topics.PREDICTIONS, record, event)


def _feedback(record: FeedbackRecord, sampling: dict[str, str]) -> Outgoing:
    message = pb.Feedback(
        tenant=record.tenant,
        request_id=record.request_id,
        row=record.row,
        true_label=record.true_label,
        receive_time=_timestamp(record.receive_time),
        subject=record.subject,
    )
    extensions = _extensions(record) | sampling
    event = event_of(message, source=SOURCE, time=record.receive_time, extensions=extensions)
    return _outgoing(topics.FEEDBACK, record, event)


def _outgoing(topic: str, record: Record, event: CloudEvent) -> Outgoing:
    key = topics.message_key(record.tenant, record.request_id)
    return Outgoing(topic=topic, message=Message.of(key, event))


def _extensions(record: Record) -> dict[str, str]:
    return {"requestid": record.request_id, "tenant": record.tenant, "traceparent": traceparent()}


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
