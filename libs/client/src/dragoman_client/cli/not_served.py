# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What to do about a model that nobody answers for. The gateway knows its aliases; the registry knows what there is."""

import asyncio

from dragoman.registry.v1 import registry_pb2
from dragoman_client.cli.session import Session
from dragoman_common.errors import DragomanError


def remedy_for(session: Session, asked: str, version: int | None) -> str:
    """The next command, for a model (name or name@alias) that was not found."""
    if session.environ.get("DRAGOMAN_TARGET"):
        return "its operator sees what there is with `dragoman models`"
    try:
        models = {summary.model: summary for summary in asyncio.run(_models(session))}
    except (DragomanError, OSError):
        return "see `dragoman models`"
    return remedy(models, asked, version)


def remedy(models: dict[str, registry_pb2.ModelSummary], asked: str, version: int | None) -> str:
    """As `remedy_for`, from the tenant's models by name."""
    name, _, alias = asked.partition("@")
    alias = alias or "prod"
    summary = models.get(name)
    if summary is None:
        known = ", ".join(models)
        return f"models: {known}" if known else f"no model yet: `dragoman train RECIPE --model {name}` makes one"
    if version is not None:
        return f"{name} has the versions up to {summary.newest_version}, and answers with those that an alias points to"
    named = ", ".join(event.alias for event in summary.aliases)
    has = f"only {named}" if named else "none yet"
    return (
        f"of its aliases there is {has}: let a version answer with "
        f"`dragoman alias {name} {alias} {summary.newest_version} --reason ...`"
    )


async def _models(session: Session) -> list[registry_pb2.ModelSummary]:
    async with session.operator() as operator:
        return await operator.models()
