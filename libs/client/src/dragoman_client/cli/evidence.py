# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""evidence add, evidence retract, evidence list, approve: what is said of a version after its publish."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from dragoman_client.cli.documents import Document
from dragoman_client.cli.models import ModelArgument
from dragoman_client.cli.output import print_json, print_table, say
from dragoman_client.cli.registry_session import registry_of
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.cli.trust_documents import evidence_document, retracted_by
from dragoman_common.errors import InvalidArgumentError, NotFoundError

app = typer.Typer(help="What was measured of a version, or decided about it.", no_args_is_help=True)
VersionArgument = Annotated[int, typer.Argument(min=1, help="The version's number.")]

_MAX_DOCUMENT_BYTES = 4 << 20


@app.callback()
def evidence() -> None:
    """What was measured of a version, or decided about it."""


@app.command()
def add(
    ctx: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    kind: Annotated[str, typer.Argument(help="evaluation, robustness or measurement.")],
    file: Annotated[Path, typer.Argument(help="The JSON document.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Add a document about a version."""
    if file.stat().st_size > _MAX_DOCUMENT_BYTES:
        raise InvalidArgumentError(f"{file.name} is larger than a document may be")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{file.name} is not UTF-8: {error.reason} at byte {error.start}") from None
    _add(ctx, model, version, kind, text, as_json=as_json)


def approve(
    ctx: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    *,
    alias: Annotated[str, typer.Option(help="Only for this alias; for any otherwise.")] = "",
    comment: Annotated[str, typer.Option(help="Kept with the approval.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Agree that an alias may point to a version that somebody else published."""
    document = json.dumps({"format": "dragoman.approval/1", "alias": alias, "comment": comment})
    _add(ctx, model, version, "approval", document, as_json=as_json)


@app.command()
def retract(
    ctx: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    digest: Annotated[str, typer.Argument(help="The evidence's digest, or its beginning.")],
    *,
    reason: Annotated[str, typer.Option(help="Kept with the retraction.")],
    as_json: JsonOption = False,
) -> None:
    """Take back what was said of a version: it counts at no gate any more, and stays listed."""
    session = session_of(ctx)

    async def find() -> str:
        async with registry_of(session) as registry:
            digests = [item.digest for item in await registry.evidence(model, version)]
        found = [item for item in digests if item.startswith(digest)]
        if len(found) != 1:
            raise NotFoundError(f"{digest!r} is the beginning of {len(found)} digests of evidence, not of one")
        return found[0]

    document = {"format": "dragoman.retraction/1", "digest": asyncio.run(find()), "reason": reason}
    _add(ctx, model, version, "retraction", json.dumps(document), as_json=as_json)


@app.command(name="list")
def list_evidence(
    ctx: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    *,
    kind: Annotated[str, typer.Option(help="Only this kind.")] = "",
    as_json: JsonOption = False,
) -> None:
    """The evidence of a version, oldest first."""
    session = session_of(ctx)

    async def call() -> list[Document]:
        async with registry_of(session) as registry:
            found = await registry.evidence(model, version)
        retracted = retracted_by(found)
        return [evidence_document(item, retracted) for item in found if kind in ("", item.kind)]

    documents = asyncio.run(call())
    if as_json:
        print_json({"model": model, "version": version, "evidence": documents})
        return
    print_table(
        ("kind", "by", "time", "digest", "retracted by"),
        (
            (item["kind"], item["added_by"], item["add_time"], item["digest"][:12], item["retracted_by"])
            for item in documents
        ),
    )


def _add(ctx: typer.Context, model: str, version: int, kind: str, document: str, *, as_json: bool) -> None:
    session = session_of(ctx)

    async def call() -> Document:
        async with registry_of(session) as registry:
            # What is said binds the content that was there when it was said.
            root_sha256 = (await registry.version(model, version)).root_sha256
            reply = await registry.add_evidence(model, version, kind=kind, document=document, root_sha256=root_sha256)
            return {"created": reply.created, "evidence": evidence_document(reply.evidence)}

    reply = asyncio.run(call())
    if as_json:
        print_json(reply)
        return
    known = "" if reply["created"] else " (this was said already)"
    say(f"{kind} of {model} version {version} by {reply['evidence']['added_by']}{known}")
