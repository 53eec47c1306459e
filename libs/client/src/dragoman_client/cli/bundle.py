# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""export, import: a version as a verified bundle, from one site to another."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from dragoman.registry.v1 import registry_pb2
from dragoman_client.bundle import read_bundle, write_bundle
from dragoman_client.cli.documents import Document, version_document
from dragoman_client.cli.evidence import VersionArgument
from dragoman_client.cli.models import ModelArgument
from dragoman_client.cli.output import print_json, say
from dragoman_client.cli.paths import check_exists, check_file
from dragoman_client.cli.registry_session import registry_of
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.local import keys
from dragoman_client.local.user_tokens import LOCAL_TENANT
from dragoman_client.version_check import FAILED, SIGNATURE_FILE, VersionCheck
from dragoman_common.errors import DataLossError, FailedPreconditionError
from dragoman_models.evidence_document import EVALUATION, MEASUREMENT, ROBUSTNESS
from dragoman_models.verify import VerifyingKeys

# What was measured there holds here; who approved there decides nothing here.
_CARRIED = frozenset({EVALUATION, ROBUSTNESS, MEASUREMENT})


def export_version(
    ctx: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    file: Annotated[Path, typer.Argument(help="The bundle to write; it must not exist.")],
    *,
    key: Annotated[Path | None, typer.Option(help="PEM public key to believe; the platform's otherwise.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a version and write it with its signatures and evidence into one file."""
    session = session_of(ctx)
    key_file = check_exists(key) if key else keys.signing_public_key_file(session.home)

    async def call(folder: Path) -> Document:
        async with registry_of(session) as registry:
            check = VersionCheck(
                registry, VerifyingKeys.load(key_file), tenant=LOCAL_TENANT, model=model, number=version
            )
            manifest = await check.run(folder, key_file)
            if failed := [item for item in check.checks if item.state == FAILED]:
                raise DataLossError(f"{failed[0].name}: {failed[0].detail}")
            if manifest is None or not (folder / "model").exists():
                raise FailedPreconditionError(f"version {version} of model {model} is withdrawn")
            evidence = await registry.evidence(model, version)
            envelope = (await registry.version(model, version)).manifest.envelope
            write_bundle(
                file,
                manifest=manifest,
                envelope=envelope,
                signature=(folder / SIGNATURE_FILE).read_bytes(),
                evidence={item.digest: item.record.envelope for item in evidence},
                folder=folder / "model",
            )
            return {
                "model": model,
                "version": version,
                "root_sha256": manifest.root_sha256,
                "file": str(file),
                "size_bytes": file.stat().st_size,
                "num_evidence": len(evidence),
            }

    with tempfile.TemporaryDirectory(prefix="dragoman-export-") as folder:
        document = asyncio.run(call(Path(folder)))
    if as_json:
        print_json(document)
        return
    say(f"{file}: {model} version {version} ({document['root_sha256'][:12]}), {document['size_bytes']} bytes")


def import_version(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A bundle that export wrote.")],
    *,
    key: Annotated[Path, typer.Option(help="PEM public key of the site that the bundle comes from.")],
    model: Annotated[str, typer.Option(help="The model to publish to; the bundle's own name otherwise.")] = "",
    same_number: Annotated[bool, typer.Option("--same-number", help="Keep the number, or fail.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle whole, then publish what it holds."""
    session = session_of(ctx)
    bundle = read_bundle(check_file(file), VerifyingKeys.load(check_exists(key)))
    manifest = bundle.manifest

    async def call() -> Document:
        async with registry_of(session) as registry:
            reply = await registry.publish(
                model or manifest.model,
                manifest.files,
                bundle.content,
                number=manifest.number if same_number else 0,
                # A parent is a number of the other site's.
                lineage=registry_pb2.Lineage(
                    job_id=manifest.lineage.job_id,
                    recipe=manifest.lineage.recipe,
                    data_sha256=manifest.lineage.data_sha256,
                    code_revision=manifest.lineage.code_revision,
                ),
            )
            carried = [record for record in bundle.evidence if record.kind in _CARRIED]
            for record in carried:
                await registry.add_evidence(
                    reply.version.model,
                    reply.version.number,
                    kind=record.kind,
                    document=record.document,
                    root_sha256=manifest.root_sha256,
                )
            return {
                "created": reply.created,
                "version": version_document(reply.version),
                "origin": {"tenant": manifest.tenant, "model": manifest.model, "number": manifest.number},
                "num_evidence": len(carried),
            }

    document = asyncio.run(call())
    if as_json:
        print_json(document)
        return
    version = document["version"]
    known = "" if document["created"] else " (this content was there already)"
    say(f"{version['model']} version {version['number']} ({version['root_sha256'][:12]}){known}")
