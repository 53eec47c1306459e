# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Our envelope against the CloudEvents project's own Kafka binding, in both directions."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as TheirEvent
from hypothesis import given
from hypothesis import strategies as st

from dragoman.events.v1 import events_pb2 as pb
from dragoman_events.cloud_event import CloudEvent
from dragoman_events.message_event import event_of, message_of

TIME = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
PREDICTION = pb.Prediction(tenant="acme", request_id="r-1", model="r8", version=3, arm="stable", score=0.5)
EXTENSIONS = {
    "requestid": "r-1",
    "modelid": "r8",
    "modelversion": "3",
    "arm": "stable",
    "tenant": "acme",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


class AsBytes(JSONFormat):
    """Data untouched, as a protobuf consumer needs it: JSONFormat makes text of bytes that happen to be UTF-8."""

    def read_data(self, body, _):
        return body


def ours(**changes):
    fields = {"source": "dragoman/gateway", "subject": "r8/3", "extensions": EXTENSIONS, "event_id": "e-1"}
    return event_of(PREDICTION, **fields | {"time": TIME} | changes)


def theirs(event):
    """Our event as their library reads it from a message."""
    return from_binary(KafkaMessage(headers=event.to_headers(), key=None, value=event.data), AsBytes())


def sent(event):
    """Their event as our reader sees it in the message that their library writes."""
    message = to_binary(event, AsBytes())
    return CloudEvent.from_headers(message.headers, message.value)


def attributes(event):
    """What our event is, in their words."""
    named = {
        "id": event.id,
        "source": event.source,
        "specversion": "1.0",
        "type": event.type,
        "time": event.time,
        "datacontenttype": event.content_type,
        "subject": event.subject,
        "dataschema": event.dataschema,
    }
    return {name: value for name, value in named.items() if value} | dict(event.extensions)


def test_their_library_reads_our_message():
    event = theirs(ours())
    assert event.get_attributes() == attributes(ours())
    assert pb.Prediction.FromString(event.get_data()) == PREDICTION


def test_our_reader_reads_their_message():
    event = TheirEvent(attributes(ours()), PREDICTION.SerializeToString())
    assert sent(event) == ours()
    assert message_of(sent(event), pb.Prediction) == PREDICTION


def test_headers_are_equal_whoever_writes_them():
    message = to_binary(TheirEvent(attributes(ours()), ours().data), AsBytes())
    assert message.headers == ours().to_headers()
    assert message.value == ours().data


@pytest.mark.parametrize("time", [TIME.replace(microsecond=0), TIME.astimezone(timezone(timedelta(hours=-7)))])
def test_times_are_the_same_moment_both_ways(time):
    event = ours(time=time)
    assert theirs(event).get_time() == time
    assert sent(TheirEvent(attributes(event), event.data)).time == time


TEXT = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=40)


@given(TEXT, TEXT, st.binary(), st.dictionaries(st.from_regex(r"x[a-z0-9]{0,18}", fullmatch=True), TEXT, max_size=3))
def test_any_text_and_any_bytes_survive_both_ways(source, subject, data, extensions):
    event = CloudEvent(id="e-1", source=source, type="t", subject=subject, time=TIME, data=data, extensions=extensions)
    read = theirs(event)
    assert (read.get_attributes(), read.get_data()) == (attributes(event), data)
    assert sent(TheirEvent(attributes(event), data)) == event
