# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""rollback, withdraw, verify: which version may be believed and used."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dragoman_client.cli.documents import Document
from dragoman_client.cli.errors import EXIT_CODES
from dragoman_client.cli.evidence import VersionArgument
from dragoman_client.cli.models import ModelArgument
from dragoman_client.cli.move import DEFAULT_WAIT_S, Move, NoWaitOption, WaitOption, after_move, show_move
from dragoman_client.cli.output import print_json, print_table, say
from dragoman_client.cli.paths import check_exists
from dragoman_client.cli.reason import check_reason
from dragoman_client.cli.registry_session import registry_of
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.cli.trust_documents import check_document, tombstone_document
from dragoman_client.local import keys
from dragoman_client.local.user_tokens import LOCAL_TENANT
from dragoman_client.version_check import VersionCheck
from dragoman_common.errors import FailedPreconditionError
from dragoman_models.verify import VerifyingKeys


def version_before(versions: Sequence[int]) -> int | None:
    """Where an alias was before it came to where it is, None for nowhere.

    Args:
        versions: Where each of its events pointed, oldest first.

    A return undoes what it returns over: after 1, 2, 1 there is nothing before 1; going back again does not bring 2.
    """
    stack: list[int] = []
    for version in versions:
        if version in stack:
            del stack[stack.index(version) + 1 :]
        else:
            stack.append(version)
    return stack[-2] if len(stack) > 1 else None


def rollback(
    ctx: typer.Context,
    model: ModelArgument,
    alias: Annotated[str, typer.Argument(help="The alias.")],
    *,
    reason: Annotated[str, typer.Option(help="Kept with the move.")] = "rollback",
    wait_s: WaitOption = DEFAULT_WAIT_S,
    no_wait: NoWaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Point an alias to the version that it pointed to before, which the gate lets pass; wait until it can answer."""
    check_reason(reason)
    session = session_of(ctx)
    wait_s = 0.0 if no_wait else wait_s

    async def call() -> Move:
        async with registry_of(session) as registry:
            events = await registry.alias_events(model, alias)
            version = version_before([event.stable_version for event in events])
            if version is None:
                raise FailedPreconditionError(f"{model}@{alias} points to the first version it ever had")
            event = await registry.set_alias(model, alias, version, reason=reason, expected_sequence=len(events))
        async with session.operator() as operator:
            return await after_move(operator, event, wait_s=wait_s)

    show_move(asyncio.run(call()), wait_s=wait_s, as_json=as_json)


def withdraw(
    ctx: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    *,
    reason: Annotated[str, typer.Option(help="Kept with the version.")],
    as_json: JsonOption = False,
) -> None:
    """Take a version out of use for good. It stays in lists and histories."""
    check_reason(reason)
    session = session_of(ctx)

    async def call() -> Document:
        async with registry_of(session) as registry:
            return tombstone_document(model, version, await registry.withdraw(model, version, reason=reason))

    document = asyncio.run(call())
    if as_json:
        print_json(document)
        return
    say(f"{model} version {version} is withdrawn: {document['reason']}")


def verify(
    ctx: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    *,
    key: Annotated[Path | None, typer.Option(help="PEM public keys to believe; the platform's otherwise.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Download a version and check its signatures, its files, its evidence and every alias's chain."""
    session = session_of(ctx)
    key_file = check_exists(key) if key else keys.signing_public_key_file(session.home)

    async def call(folder: Path) -> tuple[VersionCheck, str | None]:
        async with registry_of(session) as registry:
            check = VersionCheck(
                registry, VerifyingKeys.load(key_file), tenant=LOCAL_TENANT, model=model, number=version
            )
            manifest = await check.run(folder, key_file)
            return check, manifest.root_sha256 if manifest else None

    with tempfile.TemporaryDirectory(prefix="dragoman-verify-") as folder:
        check, root_sha256 = asyncio.run(call(Path(folder)))
    if as_json:
        print_json(
            {
                "model": model,
                "version": version,
                "root_sha256": root_sha256,
                "holds": check.holds,
                "checks": [check_document(item) for item in check.checks],
            }
        )
    else:
        print_table(("check", "state", "detail"), ((item.name, item.state, item.detail) for item in check.checks))
        say(f"{model} version {version} {'holds' if check.holds else 'DOES NOT HOLD'}")
    if not check.holds:
        raise typer.Exit(EXIT_CODES["DATA_LOSS"])
