# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""report: what a model's versions did, counted from the event log."""

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from dragoman_client.cli.documents import Document, report_document
from dragoman_client.cli.output import print_json, print_table, say
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.operator_client import OperatorClient
from dragoman_common.errors import NotFoundError

_LOSSES = {
    "num_unjoined_feedback": "labels wait for their prediction",
    "num_expired_feedback": "labels were given up: their prediction did not come in time",
    "num_late_predictions": "predictions came too late to be counted",
    "num_lost_events": "events were dropped from the log before they were read",
    "num_dead_letters": "events could not be read, and are dead letters",
}


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
            found = await operator.report(model, version)
            if not found.versions:
                await _check_known(operator, model, version)
            return report_document(model, found)

    document = asyncio.run(call())
    if as_json:
        print_json(document)
        return
    if not document["versions"]:
        say(f"no predictions yet of {model}" + (f" version {version}" if version else ""))
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
    for line in _remarks(document):
        say(line)


def _remarks(document: Document) -> Iterator[str]:
    """What a reader of the table should know, and only where there is something to know; the numbers are in --json."""
    for version in document["versions"]:
        num_unanswered = version["label_bounds"]["num_unanswered"]
        if num_unanswered:
            recall = _rounded(version["answered_macro_recall"]) or "-"
            yield (
                f"version {version['version']} ({version['arm']}): {num_unanswered} rows have a true label that it"
                f" never answers; macro recall without them: {recall}"
            )
    freshness = document["freshness"]
    if lag := freshness["predictions_lag"] + freshness["feedback_lag"]:
        yield f"{lag} events are not counted yet"
    for name, text in _LOSSES.items():
        if freshness[name]:
            yield f"{freshness[name]} {text}"


async def _check_known(operator: OperatorClient, model: str, version: int | None) -> None:
    """Raise NotFoundError for what the registry does not have: to the monitor it looks like what was never asked."""
    if version is not None:
        await operator.version(model, version)
        return
    names = [summary.model for summary in await operator.models()]
    if model not in names:
        raise NotFoundError(f"no model {model!r}; there are: {', '.join(names) or 'none yet'}")


def _rounded(value: Any) -> str | None:
    return None if value is None else f"{value:.4f}"
