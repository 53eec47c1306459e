# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""publish: a package, or a Hugging Face classifier's folder that becomes one, as a new version."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from dragoman_client.cli.documents import Document, version_document
from dragoman_client.cli.output import note, print_json, say
from dragoman_client.cli.session import JsonOption, Session, session_of
from dragoman_client.huggingface_folder import is_huggingface
from dragoman_client.huggingface_package import ConvertedPackage, convert_folder
from dragoman_common.errors import InvalidArgumentError


def publish(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="model.json, weights and the rest; or a Hugging Face text classifier (config.json).")
    ],
    *,
    model: Annotated[str, typer.Option(help="The model to publish to.")] = "",
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Hugging Face: where texts are cut; the model's limit otherwise.")
    ] = None,
    dry_run: Annotated[
        Path | None, typer.Option(help="Hugging Face: write the package into this folder, and publish nothing.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Upload a model package as a new version."""
    session = session_of(ctx)
    if not model and dry_run is None:
        raise InvalidArgumentError("--model is missing: the name of the model to publish to")
    if not is_huggingface(folder):
        if max_tokens is not None or dry_run is not None:
            raise InvalidArgumentError("--max-tokens and --dry-run are for Hugging Face folders; a package is final")
        _answer(asyncio.run(_upload(session, model, folder)), None, as_json=as_json)
        return
    package = convert_folder(folder, max_tokens=max_tokens)
    if package.left_out:
        note(f"not read: {', '.join(package.left_out)}")
    if dry_run is not None:
        package.write(dry_run)
        _answer({"created": False, "version": None}, package, as_json=as_json)
        note(f"the package is in {dry_run}; nothing was published")
        return
    with tempfile.TemporaryDirectory(prefix="dragoman-publish-") as temporary:
        package.write(Path(temporary))
        _answer(asyncio.run(_upload(session, model, Path(temporary))), package, as_json=as_json)


async def _upload(session: Session, model: str, folder: Path) -> Document:
    async with session.operator() as operator:
        response = await operator.publish(model, folder)
        return {"created": response.created, "version": version_document(response.version)}


def _answer(document: Document, package: ConvertedPackage | None, *, as_json: bool) -> None:
    converted = None if package is None else {"family": package.family, "left_out": list(package.left_out)}
    if as_json:
        print_json({**document, "converted": converted})
        return
    version = document["version"]
    if version is not None:
        known = "" if document["created"] else " (this content was there already)"
        say(f"{version['model']} version {version['number']} ({version['root_sha256'][:12]}){known}")
