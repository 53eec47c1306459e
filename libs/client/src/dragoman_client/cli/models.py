# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""models, alias: what the registry holds."""

import asyncio
from typing import Annotated

import typer

from dragoman_client.cli.documents import Document, model_document
from dragoman_client.cli.loading import Loading, loaded_or_none, loading_of
from dragoman_client.cli.move import DEFAULT_WAIT_S, Move, NoWaitOption, WaitOption, after_move, show_move
from dragoman_client.cli.output import note, print_json, print_table
from dragoman_client.cli.reason import check_reason
from dragoman_client.cli.session import JsonOption, session_of

_NONE = (None, None, None, None)
ModelArgument = Annotated[str, typer.Argument(help="The model's name.")]


def models(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """The models, and where their aliases point."""
    session = session_of(ctx)

    async def call() -> list[Document]:
        async with session.operator() as operator:
            models = await operator.models()
            loaded, why_not = await loaded_or_none(operator)
        unknown = Loading("unknown", why_not)
        return [
            model_document(
                model,
                {event.alias: unknown if loaded is None else loading_of(event, loaded) for event in model.aliases},
            )
            for model in models
        ]

    documents = asyncio.run(call())
    if as_json:
        print_json({"models": documents})
        return
    if not documents:
        note("no model yet; `dragoman train` makes one")
    rows = []
    for m in documents:
        for a in m["aliases"] or [None]:
            named = (m["model"], m["num_versions"], m["newest_version"])
            rows.append(
                (*named, a["alias"], a["version"], a["load_state"], a["load_reason"]) if a else (*named, *_NONE)
            )
    print_table(("model", "versions", "newest", "alias", "points to", "state", "why"), rows)


def alias(
    ctx: typer.Context,
    model: ModelArgument,
    alias: Annotated[str, typer.Argument(help="prod, canary, or a name of your own.")],
    version: Annotated[int, typer.Argument(min=1)],
    *,
    reason: Annotated[str, typer.Option(help="Kept with the move.")],
    wait_s: WaitOption = DEFAULT_WAIT_S,
    no_wait: NoWaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Point an alias to a version, if the gate lets it pass, and wait until it can answer."""
    session = session_of(ctx)
    check_reason(reason)
    wait_s = 0.0 if no_wait else wait_s

    async def call() -> Move:
        async with session.operator() as operator:
            event = await operator.set_alias(model, alias, version, reason=reason)
            return await after_move(operator, event, wait_s=wait_s)

    show_move(asyncio.run(call()), wait_s=wait_s, as_json=as_json)
