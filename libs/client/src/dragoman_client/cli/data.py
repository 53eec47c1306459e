# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""data get, add, remove, list: data sets on this machine."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dragoman_client import datasets
from dragoman_client.cli.output import note, print_json, print_table, say
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.datasets_catalog import CATALOG

app = typer.Typer(help="Data sets.", no_args_is_help=True)


@app.command()
def get(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(help="See `dragoman data list`.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Fetch data sets by their hashes; nothing is fetched twice."""
    cache = session_of(ctx).data_cache
    for name in names:
        note(f"data set {name} ...")
        folder = datasets.get(name, cache)
        _show(name, folder, cache, as_json=as_json)


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A name of your own.")],
    train: Annotated[Path, typer.Argument(help=".tab, .csv or .jsonl")],
    test: Annotated[Path, typer.Argument(help=".tab, .csv or .jsonl")],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="In the place of one that was added before.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Keep files of your own as a data set, if training can use them."""
    cache = session_of(ctx).data_cache
    _show(name, datasets.add(name, train, test, cache, replace=replace), cache, as_json=as_json)


@app.command()
def remove(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="See `dragoman data list`.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Delete a data set from this machine."""
    folder = datasets.remove(name, session_of(ctx).data_cache)
    if as_json:
        print_json({"name": name, "folder": str(folder), "removed": True})
    else:
        say(f"removed {folder}")


@app.command("list")
def list_data(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """What can be fetched, and what is here."""
    own = datasets.cached(session_of(ctx).data_cache)
    documents = [
        {
            "name": name,
            "summary": CATALOG[name].summary if name in CATALOG else "added by the user",
            "licence": CATALOG[name].licence if name in CATALOG else "the user's own",
            "cached": name in own,
        }
        for name in sorted(own | set(CATALOG))
    ]
    if as_json:
        print_json({"data": documents})
        return
    print_table(
        ("name", "here", "summary", "licence"),
        ((d["name"], "yes" if d["cached"] else "", d["summary"], d["licence"]) for d in documents),
    )


def _show(name: str, folder: Path, cache: Path, *, as_json: bool) -> None:
    source = datasets.describe(name, cache)
    document: dict[str, Any] = {
        "name": name,
        "folder": str(folder),
        "summary": source.get("summary"),
        "package": source.get("package"),
        "version": source.get("version"),
        "licence": source.get("licence"),
        "files": source.get("files"),
    }
    if as_json:
        print_json(document)
        return
    say(str(folder))
    if document["package"]:
        say(f"  source   {document['package']} {document['version']}")
    say(f"  licence  {document['licence']}")
