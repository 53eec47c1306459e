# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the commands do, and how they fail."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner

from dragoman.inference.v1.worker_pb2 import LOAD_STATE_FAILED, LOAD_STATE_LOADING, LOAD_STATE_READY
from dragoman.launcher.v1 import launcher_pb2
from dragoman_client.cli.app import app
from dragoman_client.cli.recipes import Recipe


async def test_predict_reads_one_text_a_line_from_stdin(platform: Any) -> None:
    documents = await platform.json("predict", "r8", stdin="record profit\na merger\n")
    assert [document["label"] for document in documents] == ["earn", "acq"]
    assert [document["row"] for document in documents] == [0, 1]
    assert documents[0]["scores"] == {"acq": 0.25, "earn": 0.75}


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


async def test_alias_waits_until_the_worker_is_ready(platform: Any) -> None:
    version = platform.worker.version
    platform.worker.reports = [[], [version(LOAD_STATE_LOADING)], [version(LOAD_STATE_READY)]]
    [document] = await platform.json("alias", "r8", "prod", "2", "--reason", "better")
    assert document["load_state"] == "ready"


@pytest.mark.parametrize(
    ("reason", "exit_code", "code"),
    [
        ("DATA_LOSS: weights.safetensors is not what was signed", 12, "DATA_LOSS"),
        ("MODEL_FAILED: out of memory", 6, "FAILED_PRECONDITION"),
    ],
)
async def test_alias_to_a_version_that_cannot_be_loaded_says_why_and_how_to_go_back(
    platform: Any, reason: str, exit_code: int, code: str
) -> None:
    platform.worker.reports = [[platform.worker.version(LOAD_STATE_FAILED, reason)]]
    result = await platform.dragoman("alias", "r8", "prod", "2", "--reason", "better", "--json")
    assert result.exit_code == exit_code
    document = json.loads(result.stdout)
    assert (document["event"]["version"], document["load_state"], document["load_reason"]) == (2, "failed", reason)
    assert f"error: {code}: the worker cannot load r8 version 2: {reason}; the move stands" in result.stderr
    assert "to go back: `dragoman alias r8 prod 1 --reason ...`" in result.stderr


async def test_alias_gives_a_passing_failure_its_time_and_no_more(platform: Any) -> None:
    reason = "UNAVAILABLE: the registry is away"
    platform.worker.reports = [[platform.worker.version(LOAD_STATE_FAILED, reason)]]
    result = await platform.dragoman("alias", "r8", "prod", "2", "--reason", "better", "--wait-s", "0.3")
    assert result.exit_code == 11
    platform.worker.reports.append([platform.worker.version(LOAD_STATE_READY)])
    assert (await platform.dragoman("alias", "r8", "prod", "2", "--reason", "better")).exit_code == 0


async def test_alias_that_is_still_loading_ends_with_the_deadline_and_can_be_told_not_to_wait(platform: Any) -> None:
    platform.worker.reports = [[platform.worker.version(LOAD_STATE_LOADING)]]
    result = await platform.dragoman("alias", "r8", "prod", "2", "--reason", "better", "--wait-s", "0.2")
    assert result.exit_code == 10
    assert "no worker is ready for r8 version 2 after 0.2 s: loading; the move stands" in result.stderr
    [document] = await platform.json("alias", "r8", "prod", "2", "--reason", "better", "--wait-s", "0")
    assert document["load_state"] is None


async def test_models_says_of_each_alias_whether_it_can_answer_and_why_not(platform: Any) -> None:
    platform.worker.reports = [[platform.worker.version(LOAD_STATE_FAILED, "DATA_LOSS: no")]]
    [document] = await platform.json("models")
    states = {model["model"]: model["aliases"][0]["load_state"] for model in document["models"]}
    assert states == {"bbc": "failed", "r8": "failed"}
    table = (await platform.dragoman("models")).stdout
    assert "DATA_LOSS: no" in table


async def test_status_names_the_versions_that_cannot_be_loaded_and_exits_with_11(platform: Any) -> None:
    platform.worker.reports = [[platform.worker.version(LOAD_STATE_FAILED, "DATA_LOSS: no")]]
    result = await platform.dragoman("status", "--json")
    assert result.exit_code == 11
    assert json.loads(result.stdout)["failed_versions"] == [{"model": "r8", "version": 2, "reason": "DATA_LOSS: no"}]
    assert "cannot be loaded: r8 version 2: DATA_LOSS: no" in (await platform.dragoman("status")).stdout


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


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("predict", "nope", "text"), 3, "error: NOT_FOUND: no model 'nope'"),
        (("predict", "r8", " "), 2, "error: INVALID_ARGUMENT: texts[0] is empty"),
        (("predict", "r8"), 2, "error: INVALID_ARGUMENT: no text"),
        (("publish", "/no/such/folder", "--model", "r8"), 3, "error: NOT_FOUND: folder /no/such/folder does not exist"),
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
