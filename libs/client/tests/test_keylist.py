# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A chain of keys is made, extended and revoked on a file; a step that may not be leaves the file as it was."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dragoman_client.cli.app import app
from dragoman_models.signing import SigningKey
from dragoman_models.verify import VerifyingKeys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("old", "new"):
        SigningKey.generate().save(tmp_path / f"{name}.pem", tmp_path / f"{name}.pub.pem")
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    words = [str(folder / word) if word.endswith((".pem", ".json")) else word for word in arguments]
    return CliRunner().invoke(app, ["keylist", *words], env={"DRAGOMAN_HOME": str(folder / "home")})


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_key_is_rotated_and_revoked(folder: Path) -> None:
    first = document(run(folder, "create", "keys.json", "--sign-with", "old.pem", "--json"))
    document(run(folder, "add", "keys.json", "new.pub.pem", "--sign-with", "old.pem", "--json"))
    old_id = first["keys"][0]["key_id"]
    arguments = ("revoke", "keys.json", old_id[:10], "--since", "2026-05-01", "--reason", "stolen")
    last = document(run(folder, *arguments, "--sign-with", "new.pem", "--json"))
    assert last == document(run(folder, "show", "keys.json", "--json"))
    assert (last["sequence"], [key["revoked_time"] for key in last["keys"]]) == (
        3,
        ["2026-05-01T00:00:00.000000Z", None],
    )
    assert VerifyingKeys.load(folder / "keys.json").counting_ids == (SigningKey.load(folder / "new.pem").key_id,)


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (("create", "keys.json", "--sign-with", "old.pem"), 7),
        (("add", "keys.json", "new.pub.pem", "--sign-with", "new.pem"), 2),
        (("add", "keys.json", "old.pub.pem", "--sign-with", "old.pem"), 7),
        (("add", "keys.json", "old.pem", "--sign-with", "old.pem"), 2),
        (("revoke", "keys.json", "", "--since", "noon", "--reason", "x", "--sign-with", "old.pem"), 2),
        (("revoke", "keys.json", "zz", "--since", "2026-05-01", "--reason", "x", "--sign-with", "old.pem"), 3),
        # The only key.
        (("revoke", "keys.json", "", "--since", "2026-05-01", "--reason", "x", "--sign-with", "old.pem"), 2),
    ],
)
def test_a_step_that_may_not_be_leaves_the_file_as_it_was(
    folder: Path, arguments: tuple[str, ...], exit_code: int
) -> None:
    run(folder, "create", "keys.json", "--sign-with", "old.pem")
    before = (folder / "keys.json").read_bytes()
    result = run(folder, *arguments)
    assert result.exit_code == exit_code, result.output
    assert (folder / "keys.json").read_bytes() == before
