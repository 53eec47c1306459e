# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""operator add: a key for one person, so that approvals come from people and not from a laptop."""

from typing import Annotated

import typer

from dragoman_client.cli.output import print_json, say
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.local import keys

app = typer.Typer(help="People who may act as operators.", no_args_is_help=True)


@app.callback()
def operator() -> None:
    """People who may act as operators."""


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and '-'.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a key for a person; the platform knows it from its next start on."""
    path = keys.add_operator(session_of(ctx).home, name)
    if as_json:
        print_json({"name": name, "key_file": str(path)})
        return
    say(f"{path}: act with it as DRAGOMAN_OPERATOR={name}; restart the platform so that it is known")
