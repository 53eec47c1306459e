# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""models, publish, alias, history: what the registry holds."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dragoman_client.cli.documents import Document, alias_document, model_document, version_document
from dragoman_client.cli.output import print_json, print_table, say
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_common.errors import InvalidArgumentError

ModelArgument = Annotated[str, typer.Argument(help="The model's name.")]


def models(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """The models, and where their aliases point."""
    session = session_of(ctx)

    async def call() -> list[Document]:
        async with session.operator() as operator:
            return [model_document(model) for model in await operator.models()]

    documents = asyncio.run(call())
    if as_json:
        print_json({"models": documents})
        return
    print_table(
        ("model", "versions", "newest", "aliases"),
        (
            (
                m["model"],
                m["num_versions"],
                m["newest_version"],
                ", ".join(f"{a['alias']} -> {a['version']}" for a in m["aliases"]),
            )
            for m in documents
        ),
    )


def publish(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="model.json, weights and the rest.")],
    *,
    model: Annotated[str, typer.Option(help="The model to publish to.")],
    as_json: JsonOption = False,
) -> None:
    """Upload a model package as a new version."""
    session = session_of(ctx)

    async def call() -> Document:
        async with session.operator() as operator:
            response = await operator.publish(model, folder)
            return {"created": response.created, "version": version_document(response.version)}

    document = asyncio.run(call())
    if as_json:
        print_json(document)
        return
    version = document["version"]
    known = "" if document["created"] else " (this content was there already)"
    say(f"{version['model']} version {version['number']} ({version['root_sha256'][:12]}){known}")


def alias(
    ctx: typer.Context,
    model: ModelArgument,
    alias: Annotated[str, typer.Argument(help="prod, canary, or a name of your own.")],
    version: Annotated[int, typer.Argument(min=1)],
    *,
    reason: Annotated[str, typer.Option(help="Kept with the move.")],
    as_json: JsonOption = False,
) -> None:
    """Point an alias to a version, if the gate lets it pass."""
    session = session_of(ctx)

    async def call() -> Document:
        async with session.operator() as operator:
            return alias_document(await operator.set_alias(model, alias, version, reason=reason))

    event = asyncio.run(call())
    if as_json:
        print_json({"event": event})
        return
    say(f"{model}@{alias} -> version {event['version']} ({event['root_sha256'][:12]})")
    if event["gate_summary"]:
        say(f"gate: {event['gate_summary']}")


def history(
    ctx: typer.Context,
    model: ModelArgument,
    alias: Annotated[str, typer.Argument(help="The alias.")],
    *,
    at: Annotated[
        str, typer.Option(help="A time (ISO 8601; UTC unless it says otherwise): only where it pointed then.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Every move of an alias, oldest first."""
    session = session_of(ctx)
    at_time = _time(at) if at else None

    async def call() -> list[Document]:
        async with session.operator() as operator:
            if at_time is not None:
                return [alias_document(await operator.alias(model, alias, at=at_time))]
            return [alias_document(event) for event in await operator.alias_events(model, alias)]

    events = asyncio.run(call())
    if as_json:
        print_json({"model": model, "alias": alias, "at": at or None, "events": events})
        return
    print_table(
        ("#", "version", "digest", "time", "by", "reason"),
        (
            (e["sequence"], e["version"], e["root_sha256"][:12], e["move_time"], e["moved_by"], e["reason"])
            for e in events
        ),
    )


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgumentError(
            f"--at {text!r} is not an ISO 8601 time, for instance 2026-05-01T12:00:00Z"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
