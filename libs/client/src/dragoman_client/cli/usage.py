# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""usage: what the tenant used, for billing, as a table, JSON or CSV."""

import asyncio
import csv
import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from dragoman_client.cli.output import note, print_json, print_table
from dragoman_client.cli.session import JsonOption, session_of

_COLUMNS = ("start", "model", "version", "requests", "rows", "tokens")


class Span(StrEnum):
    """What is added up into one line."""

    HOUR = "hour"
    DAY = "day"

    @property
    def length_s(self) -> int:
        """Its length."""
        return {Span.HOUR: 3_600, Span.DAY: 86_400}[self]


def usage(
    ctx: typer.Context,
    *,
    start: Annotated[
        datetime | None, typer.Option("--from", help="The first span's start, UTC; a month ago otherwise.")
    ] = None,
    end: Annotated[datetime | None, typer.Option("--to", help="Where the last span ends, UTC; now otherwise.")] = None,
    by: Annotated[Span, typer.Option(help="One line an hour, or a day.")] = Span.DAY,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated, for a billing system.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Requests, rows and tokens per model and version, for billing."""
    session = session_of(ctx)
    now = datetime.now(UTC)
    # Whole spans: the one that has begun is in it, as far as it has come.
    ends = _floor(end.replace(tzinfo=UTC), by) if end else _floor(now, by) + timedelta(seconds=by.length_s)
    starts = _floor(start.replace(tzinfo=UTC) if start else ends - timedelta(days=31), by)

    async def call() -> tuple[list[tuple[str, str, int, int, int, int]], int]:
        async with session.operator() as operator:
            found = await operator.usage(starts, ends, by.length_s)
        rows = [
            (
                used.start_time.ToDatetime(UTC).isoformat().replace("+00:00", "Z"),
                used.model,
                used.version,
                used.num_requests,
                used.num_rows,
                used.num_tokens,
            )
            for used in found.usage
        ]
        return rows, found.predictions_lag

    rows, lag = asyncio.run(call())
    if as_json:
        print_json({"by": by.value, "usage": [dict(zip(_COLUMNS, row, strict=True)) for row in rows], "lag": lag})
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([_COLUMNS, *rows])
    else:
        print_table(_COLUMNS, rows)
    if lag:
        note(f"{lag} events are not counted yet: the newest lines grow.")


def _floor(time: datetime, by: Span) -> datetime:
    return datetime.fromtimestamp(time.timestamp() // by.length_s * by.length_s, UTC)
