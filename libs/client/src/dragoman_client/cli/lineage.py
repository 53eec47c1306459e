# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""lineage: where versions came from, and what came of them."""

import asyncio
from typing import Annotated

import typer

from dragoman_client.cli.documents import Document
from dragoman_client.cli.models import ModelArgument
from dragoman_client.cli.output import print_json, print_table
from dragoman_client.cli.registry_session import registry_of
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.cli.trust_documents import lineage_document
from dragoman_common.errors import InvalidArgumentError


def lineage(
    ctx: typer.Context,
    model: ModelArgument,
    version: Annotated[int, typer.Argument(min=0, help="Its ancestors and descendants.")] = 0,
    *,
    data: Annotated[str, typer.Option(help="SHA-256 of training rows: the versions trained on them.")] = "",
    job: Annotated[str, typer.Option(help="A job's id: the versions that it published.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Where versions came from, and what came of them."""
    if sum(map(bool, (version, data, job))) != 1:
        raise InvalidArgumentError("give one of VERSION, --data and --job")
    session = session_of(ctx)

    async def call() -> list[Document]:
        async with registry_of(session) as registry:
            entries = await registry.lineage(model, version=version, data_sha256=data, job_id=job)
            return [lineage_document(entry) for entry in entries]

    entries = asyncio.run(call())
    if as_json:
        print_json({"model": model, "entries": entries})
        return
    columns = ("distance", "version", "parent_version", "job_id", "data_sha256", "code_revision", "is_withdrawn")
    print_table(columns, (tuple(entry[column] for column in columns) for entry in entries))
