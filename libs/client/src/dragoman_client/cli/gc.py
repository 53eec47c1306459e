# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""gc: what the store holds and nothing refers to."""

import asyncio
from typing import Annotated

import typer

from dragoman_client.cli.documents import Document
from dragoman_client.cli.output import print_json, print_table, say
from dragoman_client.cli.registry_session import registry_of
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.cli.trust_documents import garbage_document


def gc(
    ctx: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Condemn what nothing refers to; delete what was condemned before and has waited."""
    session = session_of(ctx)

    async def call() -> Document:
        async with registry_of(session) as registry:
            return garbage_document(await registry.collect_garbage(dry_run=dry_run), dry_run=dry_run)

    document = asyncio.run(call())
    if as_json:
        print_json(document)
        return
    deleted = "would be deleted" if dry_run else "deleted"
    print_table(
        ("object", "why", "bytes", "condemned", "now"),
        (
            (
                item["key"],
                item["reason"],
                item["size_bytes"],
                item["condemn_time"],
                deleted if item["is_deleted"] else "waits",
            )
            for item in document["garbage"]
        ),
    )
    say(
        f"{document['num_deleted']} {deleted} ({document['deleted_bytes']:,} bytes), "
        f"{document['num_condemned']} wait ({document['condemned_bytes']:,} bytes), {document['num_kept']} files in use"
    )
    if document["num_abandoned_uploads"]:
        say(f"{document['num_abandoned_uploads']} unfinished uploads given up")
    if document["num_left"]:
        say(f"{document['num_left']} more are left for the next call")
