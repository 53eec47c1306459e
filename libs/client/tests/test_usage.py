# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""`usage` asks for whole spans, and writes what a billing system reads."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

from dragoman.monitor.v1 import monitor_pb2

DAY_S = 86_400


def reply(lag: int = 0) -> monitor_pb2.GetUsageResponse:
    used = monitor_pb2.Usage(model="r8", version=2, num_requests=3, num_rows=4, num_tokens=50)
    used.start_time.FromDatetime(datetime(2026, 11, 1, tzinfo=UTC))
    return monitor_pb2.GetUsageResponse(usage=[used], predictions_lag=lag)


async def test_a_month_by_day_is_asked_for_in_whole_days(platform: Any) -> None:
    platform.monitor.usage = reply()
    [document] = await platform.json("usage", "--from", "2026-11-01", "--to", "2026-12-01")
    [request] = platform.monitor.usage_requests
    assert request.span_s == DAY_S
    assert request.start_time.ToDatetime(UTC) == datetime(2026, 11, 1, tzinfo=UTC)
    assert request.end_time.ToDatetime(UTC) == datetime(2026, 12, 1, tzinfo=UTC)
    line = {"start": "2026-11-01T00:00:00Z", "model": "r8", "version": 2, "requests": 3, "rows": 4, "tokens": 50}
    assert document == {"by": "day", "usage": [line], "lag": 0}


async def test_without_ends_the_last_month_is_asked_for_with_the_span_that_has_begun(platform: Any) -> None:
    platform.monitor.usage = reply()
    before = datetime.now(UTC)
    await platform.json("usage", "--by", "hour")
    [request] = platform.monitor.usage_requests
    start, end = request.start_time.ToDatetime(UTC), request.end_time.ToDatetime(UTC)
    assert end > before
    assert (end - start).days == 31
    assert request.span_s == 3_600
    assert start.timestamp() % 3_600 == end.timestamp() % 3_600 == 0


async def test_csv_has_a_line_of_names_and_a_note_beside_it_says_what_is_missing(platform: Any) -> None:
    platform.monitor.usage = reply(lag=7)
    result = await platform.dragoman("usage", "--csv")
    assert list(csv.DictReader(io.StringIO(result.stdout))) == [
        {
            "start": "2026-11-01T00:00:00Z",
            "model": "r8",
            "version": "2",
            "requests": "3",
            "rows": "4",
            "tokens": "50",
        }
    ]
    assert "7 events are not counted yet" in result.stderr
