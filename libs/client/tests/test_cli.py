# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the commands do, and how they fail."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dragoman.launcher.v1 import launcher_pb2
from dragoman_client.cli.app import app


async def test_predict_reads_one_text_a_line_from_stdin(platform: Any) -> None:
    documents = await platform.json("predict", "r8", stdin="record profit\n\na merger\n")
    assert [document["label"] for document in documents] == ["earn", "acq"]
    assert [document["row"] for document in documents] == [0, 1]
    assert documents[0]["scores"] == {"acq": 0.25, "earn": 0.75}


async def test_predict_asks_as_the_local_tenant_and_user(platform: Any) -> None:
    await platform.json("predict", "r8", "a merger")
    [caller] = platform.gateway.callers
    assert (caller.tenant, caller.subject) == ("local", "ada")


async def test_feedback_reaches_the_gateway(platform: Any) -> None:
    await platform.json("feedback", "r-77", "3", "earn")
    [item] = platform.gateway.feedback
    assert (item.request_id, item.row, item.true_label) == ("r-77", 3, "earn")


async def test_publish_sends_every_byte_of_the_folder_as_the_local_tenant(platform: Any, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    (folder / "sub").mkdir(parents=True)
    files = {"model.json": b"{}", "sub/empty": b"", "weights.safetensors": bytes(range(256)) * 9000}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    await platform.json("publish", str(folder), "--model", "r8")
    assert platform.registry.published == files
    assert platform.registry.tenants == ["local"]


async def test_publish_refuses_a_link(platform: Any, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "model.json").symlink_to("/etc/passwd")
    result = await platform.dragoman("publish", str(folder), "--model", "r8")
    assert result.exit_code == 2
    assert "model.json is a link" in result.stderr


async def test_lists_turn_every_page(platform: Any) -> None:
    [models] = await platform.json("models")
    assert [model["model"] for model in models["models"]] == ["bbc", "r8"]
    [history] = await platform.json("history", "r8", "prod")
    assert [event["sequence"] for event in history["events"]] == [1, 2]


async def test_history_at_a_time_is_the_event_in_force_then(platform: Any) -> None:
    [history] = await platform.json("history", "r8", "prod", "--at", "2026-05-01T09:01:30")
    assert [event["version"] for event in history["events"]] == [1]


async def test_train_sends_recipe_overrides_and_request_id(platform: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("a: 1\n")
    lines = await platform.json(
        "train", str(recipe), "--model", "r8", "--set", "train.epochs=4", "--set", "x=a=b", "--request-id", "once"
    )
    [request] = platform.launcher.submitted
    assert (request.model, request.recipe, request.request_id) == ("r8", "a: 1\n", "once")
    assert dict(request.overrides) == {"train.epochs": "4", "x": "a=b"}
    assert [line["job"]["state"] for line in lines] == ["RUNNING", "SUCCEEDED"]


@pytest.mark.parametrize("name", ["linear", "bilstm", "bilstm-seed"])
async def test_train_knows_the_shipped_recipes_by_name(platform: Any, name: str) -> None:
    await platform.json("train", name, "--model", "r8", "--detach")
    assert platform.launcher.submitted[0].recipe.strip()


async def test_train_exits_with_20_when_the_job_fails_and_says_where_the_log_is(platform: Any) -> None:
    platform.launcher.last_state = launcher_pb2.JOB_STATE_FAILED
    result = await platform.dragoman("train", "linear", "--model", "r8")
    assert result.exit_code == 20
    assert "error: JOB_FAILED: j-1: data.train: no such file; its log: `dragoman jobs log j-1`" in result.stderr


async def test_train_takes_a_cut_watch_up_again(platform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman_client.operator_client._WATCH_PAUSE_S", 0.0)
    platform.launcher.num_cuts = 3
    lines = await platform.json("train", "linear", "--model", "r8")
    assert [line["job"]["state"] for line in lines] == ["RUNNING"] * 4 + ["SUCCEEDED"]


async def test_jobs_log_prints_what_the_job_wrote(platform: Any) -> None:
    result = await platform.dragoman("jobs", "log", "j-1")
    assert result.stdout == "epoch 1\nepoch 2\n"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("predict", "nope", "text"), 3, "error: NOT_FOUND: no model 'nope'"),
        (("predict", "r8", " "), 2, "error: INVALID_ARGUMENT: texts[0] is empty"),
        (("predict", "r8"), 2, "error: INVALID_ARGUMENT: no text"),
        (
            ("alias", "r8", "prod", "3", "--reason", "x"),
            6,
            "error: FAILED_PRECONDITION: the gate refused",
        ),
        (("train", "no-such", "--model", "r8"), 3, "error: NOT_FOUND: recipe 'no-such' is no file"),
        (("train", "linear", "--model", "r8", "--set", "x"), 2, "error: INVALID_ARGUMENT: --set 'x' is not KEY=VALUE"),
        (("jobs", "show", "j-9"), 3, "error: NOT_FOUND: no job 'j-9'"),
        (("history", "r8", "prod", "--at", "noon"), 2, "error: INVALID_ARGUMENT: --at 'noon' is not an ISO 8601 time"),
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


async def test_token_that_does_not_hold_exits_with_4(platform: Any) -> None:
    result = await platform.dragoman("predict", "r8", "text", DRAGOMAN_TOKEN="a.b.c")
    assert result.exit_code == 4


def test_commands_without_a_platform_say_how_to_start_one(tmp_path: Path) -> None:
    for arguments in (("models",), ("predict", "r8", "text"), ("status",), ("jobs",), ("report", "r8")):
        result = CliRunner().invoke(app, arguments, env={"DRAGOMAN_HOME": str(tmp_path / "none")})
        assert result.exit_code == 11, arguments
    result = CliRunner().invoke(app, ["models"], env={"DRAGOMAN_HOME": str(tmp_path / "none")})
    assert "start it with `dragoman up --detach`" in result.stderr


async def test_second_up_says_that_it_runs_and_exits_with_0(platform: Any) -> None:
    result = await platform.dragoman("up", "--detach")
    assert result.exit_code == 0
    assert "already running" in result.stdout


async def test_predict_prints_label_score_and_answer_id_between_tabs(platform: Any) -> None:
    result = await platform.dragoman("predict", "r8", "record profit")
    assert result.stdout == "earn\t0.7500\tr-77 0\n"


def test_help_of_every_command_exits_with_0() -> None:
    for command in ("up", "train", "jobs", "jobs show", "events tail", "data get", "predict"):
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0
