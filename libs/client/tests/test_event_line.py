# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Events as lines for people."""

from typing import Any

import pytest

from dragoman_client.cli.event_line import event_line


def document(kind: str | None, data: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "topic": "dragoman.predictions",
        "offset": 7,
        "type": kind and f"dragoman.events.v1.{kind}",
        "time": "2026-05-01T09:04:00.123456Z" if kind else None,
        "data": data,
    }


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        (
            "Prediction",
            {
                "model": "r8",
                "version": "2",
                "code": "OK",
                "label": "earn",
                "score": 0.98,
                "request_id": "r-77",
                "row": 3,
            },
            "r8 version 2: earn 0.9800 (0.0 ms, r-77 3)",
        ),
        ("Prediction", {"model": "r8", "code": "UNAVAILABLE"}, "r8 version ?: UNAVAILABLE (0.0 ms, 0)"),
        ("Feedback", {"request_id": "r-77", "true_label": "acq"}, "r-77 0 is acq"),
        (
            "AliasMoved",
            {"model": "r8", "alias": "prod", "stable_version": "2", "moved_by": "operator", "reason": "two\nlines"},
            "r8@prod -> version 2 by operator: two lines",
        ),
        (
            "JobChanged",
            {"job_id": "job-1", "model": "r8", "state": "FAILED", "message": "no"},
            "job-1 of r8 FAILED: no",
        ),
        ("VersionPublished", {"model": "r8", "version": "2", "root_sha256": "5f" * 32}, "r8 version 2 (5f5f5f5f5f5f)"),
        ("DeadLetter", {"topic": "dragoman.feedback", "offset": "4", "reason": "no proto"}, "dragoman.feedback 4: no"),
        ("SomethingNew", {}, "dragoman.events.v1.SomethingNew (see --json)"),
        ("Prediction", None, "dragoman.events.v1.Prediction (see --json)"),
    ],
)
def test_an_event_is_one_readable_line(kind: str, data: dict[str, Any] | None, text: str) -> None:
    line = event_line(document(kind, data))
    assert line.startswith(f"2026-05-01T09:04:00  predictions      7  {text}")
    assert "\n" not in line


def test_a_record_that_is_no_event_is_still_a_line() -> None:
    assert event_line(document(None, None)) == "-  predictions      7  no event (see --json)"
