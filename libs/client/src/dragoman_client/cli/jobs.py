# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""jobs: what was trained and what is training; show, log, cancel."""

import asyncio
import json
import sys
from typing import Annotated, Any

import typer

from dragoman_client.cli.documents import job_document
from dragoman_client.cli.output import print_json, print_table, say
from dragoman_client.cli.reason import check_reason
from dragoman_client.cli.session import JsonOption, session_of

app = typer.Typer(help="Training jobs.", invoke_without_command=True)
JobId = Annotated[str, typer.Argument(help="The job's id.")]


@app.callback()
def list_jobs(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """List the jobs, newest first."""
    if ctx.invoked_subcommand is not None:
        return
    session = session_of(ctx)

    async def call() -> list[dict[str, Any]]:
        async with session.operator() as operator:
            return [job_document(job) for job in await operator.jobs()]

    jobs = asyncio.run(call())
    if as_json:
        print_json({"jobs": jobs})
        return
    print_table(
        ("job", "model", "state", "version", "created", "message"),
        ((j["id"], j["model"], j["state"], j["published_version"], j["create_time"], j["message"]) for j in jobs),
    )


@app.command()
def show(ctx: typer.Context, job_id: JobId, *, as_json: JsonOption = False) -> None:
    """One job."""
    session = session_of(ctx)

    async def call() -> dict[str, Any]:
        async with session.operator() as operator:
            return job_document(await operator.job(job_id))

    _print_job(asyncio.run(call()), as_json=as_json)


@app.command()
def cancel(
    ctx: typer.Context,
    job_id: JobId,
    *,
    reason: Annotated[str, typer.Option(help="Kept with the job.")] = "cancelled by its owner",
    as_json: JsonOption = False,
) -> None:
    """Ask a job to stop."""
    session = session_of(ctx)
    check_reason(reason)

    async def call() -> dict[str, Any]:
        async with session.operator() as operator:
            return job_document(await operator.cancel_job(job_id, reason=reason))

    _print_job(asyncio.run(call()), as_json=as_json)


@app.command()
def log(ctx: typer.Context, job_id: JobId, *, as_json: JsonOption = False) -> None:
    """What a job has written."""
    session = session_of(ctx)

    async def call() -> bytes:
        async with session.operator() as operator:
            return await operator.job_log(job_id)

    text = asyncio.run(call()).decode(errors="replace")
    if not as_json:
        sys.stdout.write(text)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        print_json({"line": number, "text": line, "record": _record(line)})


def _record(line: str) -> dict[str, Any] | None:
    """The line as the JSON object that a job's log has on most lines; None for plain text."""
    try:
        value = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _print_job(job: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({"job": job})
        return
    progress = job.pop("progress")
    for name, value in {**job, **progress}.items():
        say(f"{name:22} {'-' if value in (None, '') else value}")
