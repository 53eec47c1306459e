# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""data get, add, remove, list: data sets on this machine; data put, list --store: those in the registry's store."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from dragoman_client import datasets
from dragoman_client.cli.documents import Document, stored_document
from dragoman_client.cli.output import note, print_json, print_table, say
from dragoman_client.cli.registry_session import data_store_of
from dragoman_client.cli.session import JsonOption, Session, session_of
from dragoman_client.data_store import data_files
from dragoman_client.datasets_catalog import CATALOG
from dragoman_common.errors import NotFoundError

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


@app.command()
def put(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What recipes call it: data.name: store:NAME.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Its files; without it, the data set of this name here.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Keep a data set in the platform's store, for jobs that run elsewhere."""
    session = session_of(ctx)
    source = datasets.folder(name, session.data_cache) if folder is None else folder
    if folder is None and not source.is_dir():
        raise NotFoundError(f"data set {name!r} is not here: name its folder, or `dragoman data get {name}` first")
    files = data_files(source)

    async def call() -> Document:
        async with data_store_of(session) as store:
            reply = await store.put(name, source, files)
        return stored_document(reply.data_set) | {"created": reply.created}

    document = asyncio.run(call())
    if as_json:
        print_json(document)
        return
    known = "" if document["created"] else " (it was there already)"
    say(f"store:{name}@{document['sha256']}{known}")
    say(f"  {len(document['files'])} files, {document['size_bytes']:,} bytes")


@app.command("list")
def list_data(
    ctx: typer.Context,
    *,
    store: Annotated[bool, typer.Option("--store", help="What the platform's store has.")] = False,
    as_json: JsonOption = False,
) -> None:
    """What can be fetched, and what is here."""
    if store:
        _list_stored(session_of(ctx), as_json=as_json)
        return
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


def _list_stored(session: Session, *, as_json: bool) -> None:
    async def call() -> list[Document]:
        async with data_store_of(session) as store:
            return [stored_document(found) for found in await store.names()]

    documents = asyncio.run(call())
    if as_json:
        print_json({"data": documents})
        return
    print_table(
        ("name", "number", "bytes", "files", "put", "digest"),
        ((d["name"], d["number"], d["size_bytes"], len(d["files"]), d["put_time"], d["sha256"]) for d in documents),
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
