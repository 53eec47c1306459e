# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Between protobuf and the monitor's nouns: events in, dead letters and reports out. Pure."""

from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from dragoman.events.v1 import events_pb2
from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman_common.errors import InvalidArgumentError
from dragoman_events.cloud_event import CloudEvent
from dragoman_events.message_event import event_of, message_of
from dragoman_events.ports import Record
from dragoman_monitor.counts import CountingRules
from dragoman_monitor.dead_letter import DeadLetter
from dragoman_monitor.matrix import OTHER, Matrix
from dragoman_monitor.measures import Measures
from dragoman_monitor.prediction import Label, Prediction, RowKey
from dragoman_monitor.usage import Usage

SOURCE = "dragoman/monitor"
MAX_RATE_DIGITS: Final = 9
MAX_REASON_BYTES: Final = 1_024
"""Of a dead letter's reason in its header; all of it is in the value."""

OTHER_TEXT = "other"
"""How merged labels read; flags tell them from a label of that name."""


def prediction_from_record(record: Record) -> Prediction:
    """Read a record of the topic of predictions.

    Raises:
        InvalidArgumentError: it is poison; the text says why.
    """
    event = record.event()
    message = message_of(event, events_pb2.Prediction)
    _check_envelope(event, message.tenant, message.request_id)
    return Prediction(
        key=RowKey(message.tenant, message.request_id, message.row),
        model=message.model,
        version=message.version,
        arm=message.arm,
        code=message.code,
        label=message.label,
        score=message.score,
        num_tokens=message.num_tokens,
        num_unknown_tokens=message.num_unknown_tokens,
        is_truncated=message.truncated,
        accept_time_us=_time_us(message.accept_time),
        latency_ms=message.latency_ms,
        stands_for=_stands_for(event),
    )


def label_from_record(record: Record) -> Label:
    """Read a record of the topic of feedback.

    Raises:
        InvalidArgumentError: it is poison; the text says why.
    """
    event = record.event()
    message = message_of(event, events_pb2.Feedback)
    _check_envelope(event, message.tenant, message.request_id)
    return Label(
        key=RowKey(message.tenant, message.request_id, message.row),
        text=message.true_label,
        receive_time_us=_time_us(message.receive_time),
    )


def dead_letter_to_event(letter: DeadLetter) -> CloudEvent:
    """The event that goes to the topic of dead letters: its id is the same at every attempt."""
    message = events_pb2.DeadLetter(
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        reason=letter.reason,
        value=letter.value,
        headers=letter.headers,
        reject_time=time_to_pb(letter.reject_time_us),
    )
    return event_of(
        message,
        source=SOURCE,
        subject=f"{letter.topic}/{letter.partition}/{letter.offset}",
        event_id=letter.event_id,
        time=datetime.fromtimestamp(letter.reject_time_us / 1_000_000, UTC),
        # For whoever looks at the topic with a broker's own tools.
        extensions={"reason": _header_text(letter.reason)}
        | ({"tenant": letter.tenant} if letter.tenant.isprintable() and letter.tenant else {}),
    )


def _header_text(text: str) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


def usage_to_pb(usage: Usage) -> pb.Usage:
    """One line of a bill."""
    return pb.Usage(
        start_time=time_to_pb(usage.start_us),
        model=usage.model,
        version=usage.version,
        num_requests=usage.num_requests,
        num_rows=usage.num_rows,
        num_tokens=usage.num_tokens,
    )


def _stands_for(event: CloudEvent) -> int:
    text = event.extensions.get("sampledrate", "1")
    if not text.isascii() or not text.isdecimal() or len(text) > MAX_RATE_DIGITS:
        raise InvalidArgumentError(f"sampledrate is {text[:20]!r}; it must be a whole number.")
    return int(text)


def measures_to_pb(measures: Measures, matrix: Matrix, rules: CountingRules) -> pb.Measures:
    """The part of a report that is one window's, or the total's."""
    buckets, sketch = measures.latency_buckets, rules.sketch
    return pb.Measures(
        num_predictions=measures.num_predictions,
        num_errors=measures.num_predictions - measures.num_answered,
        errors_by_code=measures.errors_by_code,
        latency=pb.LatencyQuantiles(
            p50_ms=sketch.quantile(buckets, 500),
            p90_ms=sketch.quantile(buckets, 900),
            p99_ms=sketch.quantile(buckets, 990),
            max_ms=sketch.quantile(buckets, 1000),
            relative_error=sketch.relative_error,
        ),
        predictions_by_label=matrix.predictions_by_label,
        num_labelled=measures.num_labelled,
        num_correct=measures.num_correct,
        accuracy=measures.accuracy,
        macro_recall=measures.macro_recall,
        answered_macro_recall=measures.answered_macro_recall,
        coverage=measures.coverage,
        coverage_threshold=rules.coverage_threshold,
        covered_accuracy=measures.covered_accuracy,
        confusion=[
            pb.ConfusionCell(
                true_label=OTHER_TEXT if true is OTHER else true,
                predicted_label=OTHER_TEXT if predicted is OTHER else predicted,
                count=count,
                true_is_other=true is OTHER,
                predicted_is_other=predicted is OTHER,
            )
            for (true, predicted), count in matrix.sorted_cells()
        ],
        label_bounds=pb.LabelBounds(
            num_unanswered_labels=matrix.num_unanswered_labels,
            num_unanswered=matrix.num_unanswered,
            num_merged_true_labels=matrix.num_merged_true_labels,
            num_merged_true=matrix.num_merged_true,
            num_merged_predicted_labels=matrix.num_merged_predicted_labels,
            num_merged_predicted=matrix.num_merged_predicted,
        ),
        num_truncated=measures.num_truncated,
        unknown_token_share=measures.unknown_token_share,
    )


def time_to_pb(time_us: int) -> Timestamp:
    """Microseconds since 1970 as a Timestamp."""
    return Timestamp(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 * 1_000)


def time_from_request(field: str, time: Timestamp) -> int:
    """A Timestamp of a request in microseconds.

    Raises:
        InvalidArgumentError: it is outside of what a Timestamp may be; names the field.
    """
    if not 0 <= time.nanos < 1_000_000_000:
        raise InvalidArgumentError(f"{field}.nanos is {time.nanos}; it must lie in 0..999999999.")
    return _time_us(time)


def _time_us(time: Timestamp) -> int:
    return time.seconds * 1_000_000 + time.nanos // 1_000


def _check_envelope(event: CloudEvent, tenant: str, request_id: str) -> None:
    # Brokers give tenants their rights by the envelope: a value that speaks for another tenant is not to be counted.
    for name, value in (("tenant", tenant), ("requestid", request_id)):
        if (said := event.extensions.get(name, value)) != value:
            raise InvalidArgumentError(f"The envelope's {name} {said[:60]!r} is not the value's.")
