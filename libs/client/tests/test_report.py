# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""`report` leaves nothing out of --json that the monitor says, and out of the table nothing that a reader needs."""

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from dragoman.monitor.v1 import monitor_pb2
from dragoman_client.cli.documents import report_document

# Asked for by with_windows only, which the command does not ask; and the names that say which report it is.
LEFT_OUT = {"windows", "model"}


def filled(message: Message) -> Message:
    """Every field set to something that is not its default."""
    for number, field in enumerate(message.DESCRIPTOR.fields, 1):
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)["some"] = number
        elif field.message_type:
            value = getattr(message, field.name)
            filled(value.add() if field.is_repeated else value)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            setattr(message, field.name, f"text-{number}")
        else:
            setattr(message, field.name, number)
    return message


def names(message: Message, place: str = "") -> set[str]:
    """The paths of all fields that are set."""
    found = set()
    for field, value in message.ListFields():
        path = f"{place}.{field.name}"
        is_plain = field.message_type is None or field.message_type.GetOptions().map_entry
        if field.name in LEFT_OUT:
            continue
        if is_plain:
            found.add(path)
        else:
            inner = value[0] if field.is_repeated else value
            found |= names(inner, "" if field.name == "total" else path)
    return found


def paths(value: Any, place: str = "") -> set[str]:
    """As `names`, of a document."""
    if isinstance(value, list):
        return paths(value[0], place)
    if not isinstance(value, dict) or place.endswith(("errors_by_code", "predictions_by_label")):
        return {place}
    return set().union(*(paths(inner, f"{place}.{name}") for name, inner in value.items()))


def test_the_document_has_every_field_of_the_report() -> None:
    report = filled(monitor_pb2.GetReportResponse())
    expected = {path.removeprefix(".versions") for path in names(report)}
    found = {path.removeprefix(".versions") for path in paths(report_document("r8", report))} - {".model"}
    assert found == expected


@pytest.fixture
def report(platform: Any) -> monitor_pb2.GetReportResponse:
    response = platform.monitor.report = monitor_pb2.GetReportResponse()
    version = response.versions.add(model="r8", version=2, arm="stable")
    version.total.num_predictions = version.total.num_labelled = 4
    return response


async def test_the_table_is_alone_where_there_is_nothing_more_to_say(platform: Any, report: Any) -> None:
    lines = (await platform.dragoman("report", "r8")).stdout.splitlines()
    assert len(lines) == 2


async def test_the_text_says_what_was_left_out_of_the_figures(platform: Any, report: Any) -> None:
    report.versions[0].total.label_bounds.num_unanswered = 3
    report.versions[0].total.answered_macro_recall = 0.5
    report.freshness.num_lost_events = 7
    report.freshness.num_expired_feedback = 2
    text = (await platform.dragoman("report", "r8")).stdout
    assert (
        "version 2 (stable): 3 rows have a true label that it never answers; macro recall without them: 0.5000" in text
    )
    assert "7 events were dropped from the log before they were read" in text
    assert "2 labels were given up" in text
    assert max(len(line) for line in text.splitlines()) <= 120
