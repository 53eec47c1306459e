# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The envelope is CloudEvents 1.0 in binary mode, and says no to what is not."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.events.v1 import events_pb2 as pb
from dragoman_common.errors import InvalidArgumentError
from dragoman_events.cloud_event import CloudEvent, new_event_id
from dragoman_events.message_event import event_of, message_of

TIME = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)


def make(**changes):
    fields = {"id": "1", "source": "dragoman/gateway", "type": "t", "time": TIME, "data": b"x"} | changes
    return CloudEvent(**fields)


def test_header_names_are_those_of_the_kafka_binding():
    prediction = pb.Prediction(tenant="acme", request_id="r-1", model="r8", version=3)
    event = event_of(
        prediction,
        source="dragoman/gateway",
        subject="r8/3",
        extensions={
            "requestid": "r-1", "modelid": "r8", "modelversion": "3", "arm": "stable", "tenant": "acme",
            "traceparent": "00-1-2-01", "dataref": "",
        },
        event_id="e-1",
        time=TIME,
    )  # fmt: skip
    assert event.to_headers() == {
        "ce_id": b"e-1",
        "ce_source": b"dragoman/gateway",
        "ce_specversion": b"1.0",
        "ce_type": b"dragoman.events.v1.Prediction",
        "ce_time": b"2026-03-01T12:00:00.000005Z",
        "ce_subject": b"r8/3",
        "ce_dataschema": b"proto:dragoman.events.v1.Prediction",
        "ce_requestid": b"r-1",
        "ce_modelid": b"r8",
        "ce_modelversion": b"3",
        "ce_arm": b"stable",
        "ce_tenant": b"acme",
        "ce_traceparent": b"00-1-2-01",
        "content-type": b"application/protobuf",
    }
    assert prediction == message_of(CloudEvent.from_headers(event.to_headers(), event.data), pb.Prediction)


NAME = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cc", "Cs"]), min_size=1, max_size=50)
EXTENSIONS = st.dictionaries(st.from_regex(r"x[a-z0-9]{0,19}", fullmatch=True), NAME, max_size=4)


@given(NAME, NAME, NAME, NAME, st.datetimes(timezones=st.just(UTC)), st.binary(), EXTENSIONS)
def test_events_survive_the_trip_through_headers(id_, source, type_, subject, time, data, extensions):
    event = CloudEvent(id=id_, source=source, type=type_, subject=subject, time=time, data=data, extensions=extensions)
    assert event == CloudEvent.from_headers(event.to_headers(), event.data)


def test_a_time_of_another_zone_is_the_same_moment():
    event = make(time=TIME.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert event.to_headers()["ce_time"] == b"2026-03-01T12:00:00.000005Z"


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"source": ""},
        {"type": ""},
        {"content_type": ""},
        {"id": "a\nb"},
        {"subject": "\x7f"},
        {"source": "\ud800"},
        {"id": "x" * 1025},
        {"subject": "é" * 513},
        {"time": datetime(2026, 3, 1)},  # noqa: DTZ001
        {"extensions": {"Tenant": "acme"}},
        {"extensions": {"request_id": "1"}},
        {"extensions": {"id": "1"}},
        {"extensions": {"a" * 21: "1"}},
        {"extensions": {"tenant": "a\x00"}},
    ],
)
def test_what_the_specification_forbids_is_refused(changes):
    with pytest.raises(InvalidArgumentError):
        make(**changes)


@pytest.mark.parametrize("missing", ["ce_id", "ce_source", "ce_type", "ce_time", "ce_specversion", "content-type"])
def test_a_missing_required_header_is_named(missing):
    headers = make().to_headers()
    del headers[missing]
    with pytest.raises(InvalidArgumentError, match=missing):
        CloudEvent.from_headers(headers, b"")


@pytest.mark.parametrize(
    ("header", "value"),
    [("ce_time", b"yesterday"), ("ce_time", b"2026-03-01T12:00:00"), ("ce_id", b"\xff"), ("ce_specversion", b"0.3")],
)
def test_a_header_that_cannot_be_read_is_refused(header, value):
    with pytest.raises(InvalidArgumentError):
        CloudEvent.from_headers(make().to_headers() | {header: value}, b"")


def test_foreign_headers_are_passed_over():
    assert make() == CloudEvent.from_headers(make().to_headers() | {"x-other": b"\xff"}, b"x")


def test_minted_ids_differ():
    assert len({new_event_id() for _ in range(1000)}) == 1000
    feedback = pb.Feedback(tenant="acme")
    assert event_of(feedback, source="s").id != event_of(feedback, source="s").id


@pytest.mark.parametrize(
    "event",
    [
        make(type="dragoman.events.v1.Feedback"),
        make(type="dragoman.events.v1.Prediction", content_type="application/json"),
        make(type="dragoman.events.v1.Prediction", data=b"\xff\xff"),
    ],
)
def test_an_event_of_another_kind_is_refused(event):
    with pytest.raises(InvalidArgumentError):
        message_of(event, pb.Prediction)
