# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""keylist create, add, revoke, fetch, show: the signed chain of keys that registry and readers believe, as a file."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dragoman_client.cli.documents import Document
from dragoman_client.cli.output import print_json, print_table
from dragoman_client.cli.registry_session import registry_of
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.local.keys import signing_public_key_file
from dragoman_common.atomic import write_atomic
from dragoman_common.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from dragoman_models.key_list import (
    KEY_LIST_PAYLOAD_TYPE,
    KeyList,
    ListedKey,
    chain_envelopes,
    chain_of,
)
from dragoman_models.record_fields import time_text
from dragoman_models.signing import SigningKey, public_pem, sign_envelope
from dragoman_models.verifying_keys import VerifyingKeys, read_key_chain

app = typer.Typer(help="Whose signatures on versions count.", no_args_is_help=True)

ChainFile = Annotated[Path, typer.Argument(help="The file that VERIFYING_KEYS_FILE names.")]
SignWith = Annotated[Path, typer.Option("--sign-with", help="A private signing key that counts.")]


@app.callback()
def keylist() -> None:
    """Whose signatures on versions count."""


@app.command()
def create(file: ChainFile, *, sign_with: SignWith, as_json: JsonOption = False) -> None:
    """Begin a chain that holds one key."""
    if file.exists():
        raise AlreadyExistsError(f"{file} exists already; add to it")
    key = SigningKey.load(sign_with)
    first = KeyList(sequence=1, keys=(_listed(key),), issue_time=datetime.now(UTC))
    _write(file, [], first, key)
    _print(first, as_json=as_json)


@app.command()
def add(
    file: ChainFile,
    key: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The new public key, PEM.")],
    *,
    sign_with: SignWith,
    as_json: JsonOption = False,
) -> None:
    """List one more key."""
    try:
        new = ListedKey(pem=key.read_text(encoding="ascii"))
    except UnicodeDecodeError:
        raise InvalidArgumentError(f"{key.name} is no PEM public key") from None
    new.public_key()
    data, now = _read(file)
    if new.key_id in now.by_id:
        raise AlreadyExistsError(f"the key {new.key_id[:12]} is listed already")
    _append(file, data, now, (*now.keys, new), sign_with, as_json=as_json)


@app.command()
def revoke(
    file: ChainFile,
    key_id: Annotated[str, typer.Argument(help="The key's id, or its beginning.")],
    *,
    since: Annotated[str, typer.Option(help="From which record time on it does not count (ISO 8601; UTC).")],
    reason: Annotated[str, typer.Option(help="Kept with the revocation.")],
    sign_with: SignWith,
    as_json: JsonOption = False,
) -> None:
    """Stop believing a key, for records from a time on. It is never taken back."""
    try:
        time = datetime.fromisoformat(since)
    except ValueError:
        raise InvalidArgumentError(f"--since {since!r} is not an ISO 8601 time") from None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    data, now = _read(file)
    found = [key for key in now.keys if key.key_id.startswith(key_id)]
    if len(found) != 1:
        raise NotFoundError(f"{key_id!r} is the beginning of {len(found)} keys' ids, not of one")
    keys = tuple(
        ListedKey(pem=key.pem, revoked_time=time, reason=reason) if key is found[0] else key for key in now.keys
    )
    _append(file, data, now, keys, sign_with, as_json=as_json)


@app.command()
def fetch(
    ctx: typer.Context,
    file: ChainFile,
    *,
    key: Annotated[
        Path | None, typer.Option(help="Where the file does not exist yet: PEM keys, one of which began the list.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a file up to the registry's list; one that does not continue what the file holds is refused."""
    session = session_of(ctx)
    if file.exists():
        keys = VerifyingKeys.of_chain(file.read_bytes(), what=file.name)
    else:
        keys = VerifyingKeys.load(key or signing_public_key_file(session.home))

    async def call() -> bytes:
        async with registry_of(session) as registry:
            return await registry.key_list()

    data = asyncio.run(call())
    if keys.follow(data, what="the registry's key list"):
        write_atomic(file, data, mode=0o644)
    _print(read_key_chain(data, what=file.name), as_json=as_json)


@app.command()
def show(file: ChainFile, *, as_json: JsonOption = False) -> None:
    """Check a chain and print its newest list."""
    _print(_read(file)[1], as_json=as_json)


def _listed(key: SigningKey) -> ListedKey:
    return ListedKey(pem=public_pem(key.public_key).decode("ascii"))


def _read(file: Path) -> tuple[bytes, KeyList]:
    data = file.read_bytes()
    return data, read_key_chain(data, what=file.name)


def _append(
    file: Path, data: bytes, now: KeyList, keys: tuple[ListedKey, ...], sign_with: Path, *, as_json: bool
) -> None:
    following = KeyList(sequence=now.sequence + 1, keys=keys, issue_time=datetime.now(UTC), previous_sha256=now.sha256)
    _write(file, chain_envelopes(data, what=file.name), following, SigningKey.load(sign_with))
    _print(following, as_json=as_json)


def _write(file: Path, before: Sequence[bytes], key_list: KeyList, key: SigningKey) -> None:
    data = chain_of([*before, sign_envelope(KEY_LIST_PAYLOAD_TYPE, key_list.to_payload(), key)])
    # Whatever is wrong with the new list shows here, before the file is touched.
    read_key_chain(data, what=file.name)
    write_atomic(file, data, mode=0o644)


def _document(key_list: KeyList) -> Document:
    return {
        "sequence": key_list.sequence,
        "issue_time": time_text(key_list.issue_time),
        "keys": [
            {
                "key_id": key.key_id,
                "revoked_time": time_text(key.revoked_time) if key.revoked_time else None,
                "reason": key.reason or None,
            }
            for key in key_list.keys
        ],
    }


def _print(key_list: KeyList, *, as_json: bool) -> None:
    document = _document(key_list)
    if as_json:
        print_json(document)
        return
    print_table(
        ("key", "revoked from", "reason"), ((k["key_id"], k["revoked_time"], k["reason"]) for k in document["keys"])
    )
