# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the commands do, and how they fail."""

from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner

from dragoman.launcher.v1 import launcher_pb2
from dragoman_client.cli.app import app
from dragoman_client.cli.recipes import Recipe


async def test_predict_reads_one_text_a_line_from_stdin(platform: Any) -> None:
    documents = await platform.json("predict", "r8", stdin="record profit\na merger\n")
    assert [document["label"] for document in documents] == ["earn", "acq"]
    assert [document["row"] for document in documents] == [0, 1]
    assert documents[0]["scores"] == {"acq": 0.25, "earn": 0.75}


@pytest.mark.parametrize("models", ["", " ", ",", "r8,", "*", "R8", "r8@prod"])
async def test_token_for_a_list_of_models_that_names_none_is_refused(platform: Any, models: str) -> None:
    result = await platform.dragoman("token", "--models", models)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "error: INVALID_ARGUMENT: --models:" in result.stderr


async def test_token_names_the_models_that_were_asked_for_and_no_other(platform: Any) -> None:
    [document] = await platform.json("token", "--models", "r8, bbc")
    assert document["models"] == ["r8", "bbc"]
    assert jwt.decode(document["token"], options={"verify_signature": False})["models"] == ["r8", "bbc"]
    [document] = await platform.json("token")
    assert document["models"] is None


async def test_predict_asks_as_the_local_tenant_and_user(platform: Any) -> None:
    await platform.json("predict", "r8", "a merger")
    [caller] = platform.gateway.callers
    assert (caller.tenant, caller.subject) == ("local", "ada")


async def test_feedback_reaches_the_gateway(platform: Any) -> None:
    await platform.json("feedback", "r-77", "3", "earn")
    [item] = platform.gateway.feedback
    assert (item.request_id, item.row, item.true_label) == ("r-77", 3, "earn")


async def test_a_model_that_no_alias_serves_is_not_found_with_the_next_command(platform: Any) -> None:
    result = await platform.dragoman("predict", "bbc@canary", "text")
    assert result.exit_code == 3
    assert "of its aliases there is only prod: let a version answer with" in result.stderr
    assert "`dragoman alias bbc canary 2 --reason ...`" in result.stderr
    assert "models: bbc, r8" in (await platform.dragoman("predict", "nope", "text")).stderr


async def test_a_report_tells_no_predictions_yet_from_no_such_model(platform: Any) -> None:
    assert (await platform.dragoman("report", "bbc")).stdout == "no predictions yet of bbc\n"
    [document] = await platform.json("report", "bbc")
    assert document["versions"] == []
    assert "error: NOT_FOUND: no model 'nope'; there are: bbc, r8" in (await platform.dragoman("report", "nope")).stderr
    result = await platform.dragoman("report", "bbc", "--version", "9")
    assert result.exit_code == 3


async def test_train_names_the_file_of_a_recipe_that_is_refused_and_the_next_step(
    platform: Any, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("nonsense: 1\n")
    result = await platform.dragoman("train", str(recipe), "--model", "r8")
    assert f"error: INVALID_ARGUMENT: {recipe}: unknown key 'nonsense' at line 1" in result.stderr
    recipe.write_bytes(b"a: 1\nb: \xff\n")
    result = await platform.dragoman("train", str(recipe), "--model", "r8")
    assert f"error: INVALID_ARGUMENT: {recipe}, line 2: byte 4 is 0xff, which is not UTF-8" in result.stderr
    result = await platform.dragoman("train", str(tmp_path), "--model", "r8")
    assert "is a folder, must be a YAML file" in result.stderr
    result = await platform.dragoman("train", "linear", "--model", "r8")
    assert "next: `dragoman alias r8 prod 2 --reason ...` lets it answer" in result.stderr


@pytest.mark.parametrize(
    ("complaint", "named"),
    [
        (
            "recipe, line 3, column 1: the key 'a' appears twice.",
            "x.yaml, line 3, column 1: the key 'a' appears twice.",
        ),
        ("recipe: linear: unknown key 'b'", "x.yaml: linear: unknown key 'b'"),
        ("recipe has 70000 bytes; at most 65536.", "x.yaml has 70000 bytes; at most 65536."),
        ("data.name: 'y' is not in the data folder", "x.yaml: data.name: 'y' is not in the data folder"),
        ("overrides.seed must be one value", "overrides.seed must be one value"),
        ("model 'A' must have 1 to 63", "model 'A' must have 1 to 63"),
    ],
)
def test_complaints_about_a_recipe_name_its_file_and_others_do_not(complaint: str, named: str) -> None:
    assert Recipe("", Path("x.yaml")).named(complaint) == named


async def test_data_get_takes_several_names_and_data_can_be_replaced_and_removed(platform: Any, tmp_path: Path) -> None:
    cache = {"DRAGOMAN_CACHE": str(tmp_path / "cache")}
    split = tmp_path / "split.csv"
    split.write_text("label,text\nx,one\ny,two\n")
    for name in ("one", "two"):
        await platform.json("data", "add", name, str(split), str(split), **cache)
    documents = await platform.json("data", "get", "one", "two", **cache)
    assert [document["name"] for document in documents] == ["one", "two"]
    split.write_text("label,text\nx,one\ny,three\n")
    result = await platform.dragoman("data", "add", "one", str(split), str(split), **cache)
    assert result.exit_code == 7
    assert "choose another name, or --replace it" in result.stderr
    await platform.json("data", "add", "one", str(split), str(split), "--replace", **cache)
    assert "the user's own" in (await platform.dragoman("data", "list", **cache)).stdout
    await platform.json("data", "remove", "one", **cache)
    [listed] = await platform.json("data", "list", **cache)
    assert [item["name"] for item in listed["data"] if item["cached"]] == ["two"]


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
        "train", str(recipe), "--model", "r8", "--set", "training.epochs=4", "--set", "x=a=b", "--request-id", "once"
    )
    [request] = platform.launcher.submitted
    assert (request.model, request.recipe, request.request_id) == ("r8", "a: 1\n", "once")
    assert dict(request.overrides) == {"training.epochs": "4", "x": "a=b"}
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
    lines = await platform.json("jobs", "log", "j-1")
    assert [(line["line"], line["text"], line["record"]) for line in lines] == [
        (1, "epoch 1", None),
        (2, "epoch 2", None),
    ]


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
    assert "it stays on its ports; to move it to 9000 and 8080" in result.stderr


async def test_predict_prints_label_score_and_answer_id_between_tabs(platform: Any) -> None:
    result = await platform.dragoman("predict", "r8", "record profit")
    assert result.stdout == "earn\t0.7500\tr-77 0\n"


def test_help_of_every_command_exits_with_0() -> None:
    for command in ("up", "train", "jobs", "jobs show", "events tail", "data get", "predict"):
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0
