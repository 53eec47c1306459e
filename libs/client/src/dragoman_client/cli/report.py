# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""report: what a model's versions did, counted from the event log."""

import asyncio
from typing import Annotated, Any

import typer

from dragoman_client.cli.documents import Document, report_document
from dragoman_client.cli.output import print_json, print_table, say
from dragoman_client.cli.session import JsonOption, session_of


def report(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    *,
    version: Annotated[int | None, typer.Option(min=1, help="Only this version.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Counts, latency, accuracy per version."""
    session = session_of(ctx)

    async def call() -> Document:
        async with session.operator() as operator:
            return report_document(model, await operator.report(model, version))

    document = asyncio.run(call())
    if as_json:
        print_json(document)
        return
    print_table(
        ("version", "arm", "answered", "errors", "labelled", "accuracy", "macro recall", "p50 ms", "p99 ms"),
        (
            (
                v["version"],
                v["arm"],
                v["num_predictions"] - v["num_errors"],
                v["num_errors"],
                v["num_labelled"],
                _rounded(v["accuracy"]),
                _rounded(v["macro_recall"]),
                f"{v['latency']['p50_ms']:.1f}",
                f"{v['latency']['p99_ms']:.1f}",
            )
            for v in document["versions"]
        ),
    )
    lag = document["freshness"]["predictions_lag"] + document["freshness"]["feedback_lag"]
    if lag:
        say(f"{lag} events are not counted yet")


def _rounded(value: Any) -> str | None:
    return None if value is None else f"{value:.4f}"
