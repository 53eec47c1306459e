# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with what was typed, the command ends with one line that says it, and the documented code."""

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dragoman_client.cli.app import app


async def test_a_blank_line_of_stdin_is_named_or_passed_over_when_asked(platform: Any) -> None:
    result = await platform.dragoman("predict", "r8", stdin="record profit\n\na merger\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "stdin, line 2 is blank" in result.stderr
    documents = await platform.json("predict", "r8", "--skip-blank", stdin="record profit\n\na merger\n")
    assert [document["label"] for document in documents] == ["earn", "acq"]


async def test_stdin_that_is_not_utf8_is_named_by_line_and_byte(platform: Any) -> None:
    result = await platform.dragoman("predict", "r8", stdin=b"record profit\nna\xefve\n")
    assert result.exit_code == 2
    assert "error: INVALID_ARGUMENT: stdin, line 2: byte 3 is 0xef, which is not UTF-8" in result.stderr


async def test_argument_that_is_not_utf8_is_named(platform: Any) -> None:
    result = await platform.dragoman("predict", "r8", "na\udcefve")
    assert result.exit_code == 2
    assert "error: INVALID_ARGUMENT: argument 3 ('na?ve') is not UTF-8 at character 3" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense",), "No such command 'nonsense'; see `dragoman --help`"),
        (("jobs", "show", "--json"), "Missing argument 'job_id'; see `dragoman jobs show --help`"),
        (("alias", "r8", "prod", "x", "--reason", "y", "--json"), "Invalid value for 'version'"),
        (("up", "--grpc-port", "0"), "Invalid value for '--grpc-port'"),
    ],
)
def test_wrong_usage_is_an_error_line_like_any_other(arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, arguments, prog_name="dragoman")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: INVALID_ARGUMENT: {message}")
    assert len(result.stderr.splitlines()) == 1


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"dragoman {metadata.version('dragoman-client')}\n")


def test_the_command_alone_shows_its_help() -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 2
    assert "Usage" in result.output


@pytest.mark.parametrize(
    "command", ["status", "models", "token", "up", "down", "events tail", "data list", "data get r8"]
)
def test_a_file_where_a_folder_should_be_is_an_error_line(tmp_path: Path, command: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    variables = {"DRAGOMAN_HOME": str(file), "DRAGOMAN_CACHE": str(file)}
    result = CliRunner().invoke(app, command.split(), env=variables)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: INVALID_ARGUMENT: " + str(file)), result.output
    assert len(result.stderr.splitlines()) == 1


def test_a_damaged_state_file_is_data_loss(home: Any) -> None:
    home.state_file.write_text('{"services": [{"nonsense": 1}]}')
    result = CliRunner().invoke(app, ["down"], env={"DRAGOMAN_HOME": str(home.root)})
    assert result.exit_code == 12
    assert "state.json is damaged or of another release" in result.stderr


def test_an_empty_home_is_refused_and_not_the_current_folder() -> None:
    result = CliRunner().invoke(app, ["--home", "", "status"])
    assert result.exit_code == 2
    assert "error: INVALID_ARGUMENT: the home (--home, DRAGOMAN_HOME) is no path" in result.stderr


def test_one_port_for_both_is_refused_before_anything_starts(tmp_path: Path) -> None:
    arguments = ["--home", str(tmp_path / "home"), "up", "--detach", "--grpc-port", "9555", "--http-port", "9555"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "are both 9555: gRPC and HTTP need a port each" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("predict", "nope", "text"), 3, "error: NOT_FOUND: no model 'nope'"),
        (("predict", "r8", " "), 2, "error: INVALID_ARGUMENT: texts[0] is empty"),
        (("predict", "r8"), 2, "error: INVALID_ARGUMENT: no text"),
        (("publish", "/no/such/folder", "--model", "r8"), 3, "error: NOT_FOUND: folder /no/such/folder does not exist"),
        (("evidence", "add", "r8", "2", "measurement", "/no/such"), 3, "error: NOT_FOUND: /no/such: No such file"),
        (("evidence", "add", "r8", "2", "measurement", "/"), 2, "error: INVALID_ARGUMENT: /: Is a directory"),
        (("policy", "set", "r8", "/no/such", "--reason", "x"), 3, "error: NOT_FOUND: /no/such: No such file"),
        (("import", "/no/such", "--key", "/no/such"), 3, "error: NOT_FOUND: file /no/such"),
        (("verify", "r8", "2", "--key", "/no/such"), 3, "error: NOT_FOUND: file /no/such"),
        (("publish", __file__, "--model", "r8"), 2, f"error: INVALID_ARGUMENT: {__file__} is a file"),
        (
            ("alias", "r8", "prod", "3", "--reason", "x"),
            6,
            "error: FAILED_PRECONDITION: the gate refused",
        ),
        (("train", "no-such", "--model", "r8"), 3, "error: NOT_FOUND: recipe 'no-such' is no file"),
        (("train", "linear", "--model", "r8", "--set", "x"), 2, "error: INVALID_ARGUMENT: --set 'x' is not KEY=VALUE"),
        (("jobs", "show", "j-9"), 3, "error: NOT_FOUND: no job 'j-9'"),
        (("history", "r8", "prod", "--at", "noon"), 2, "error: INVALID_ARGUMENT: --at 'noon' is not an ISO 8601 time"),
        (("history", "r8", "prod", "--at", "2026-05-01"), 2, "error: INVALID_ARGUMENT: --at '2026-05-01' names a day"),
        (("alias", "r8", "prod", "2", "--reason", " "), 2, "error: INVALID_ARGUMENT: --reason is blank"),
        (("rollback", "r8", "prod", "--reason", ""), 2, "error: INVALID_ARGUMENT: --reason is blank"),
        (("withdraw", "r8", "2", "--reason", " "), 2, "error: INVALID_ARGUMENT: --reason is blank"),
        (("jobs", "cancel", "j-1", "--reason", ""), 2, "error: INVALID_ARGUMENT: --reason is blank"),
        (("token", "--ttl-s", "86401"), 2, "error: INVALID_ARGUMENT: ttl: 86401 s is not between 1 and 86400 s"),
        (("events", "tail", "--topic", "x"), 3, "error: NOT_FOUND: no such topic: x"),
        (("data", "get", "nope"), 3, "error: NOT_FOUND: data set 'nope' is unknown"),
    ],
)
async def test_error_is_one_line_with_its_code_and_exit_status(
    platform: Any, tmp_path: Path, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    result = await platform.dragoman(*arguments, DRAGOMAN_CACHE=str(tmp_path))
    assert result.exit_code == exit_code
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert line.startswith(message)
    assert "Traceback" not in result.output
