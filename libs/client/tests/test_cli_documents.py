# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""docs/cli.md shows one document of each command; what the command prints has the same shape."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dragoman.events.v1 import events_pb2
from dragoman_client.cli.errors import EXIT_CODES
from dragoman_events.message_event import event_of
from dragoman_events.opening import open_log
from dragoman_events.topics import PREDICTIONS, message_key
from dragoman_models.signing import SigningKey

DOCS = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
BLOCK = re.compile(r"### `dragoman ([^`]+)`\n.*?```json\n(.*?)```", re.DOTALL)
EXAMPLES = {name: json.loads(block) for name, block in BLOCK.findall(DOCS)}
# Objects whose keys are data: labels, codes, metrics, files.
FREE_KEYS = {
    "metrics",
    "record",
    "document",
    "errors_by_code",
    "predictions_by_label",
    "scores",
    "extensions",
    "data",
    "files",
}


def shape(value: Any, name: str = "") -> Any:
    """What a reader depends on: names and nesting; values, and the types of scalars, are not compared."""
    if name in FREE_KEYS:
        return "free"
    if isinstance(value, dict):
        return {key: shape(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], dict) else "list"
    return "scalar"


def package(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    (folder / "weights.safetensors").write_bytes(b"w" * 1_500_000)
    return folder


def trust_files(folder: Path, key: SigningKey) -> dict[str, Path]:
    files = {name: folder / name.lower() for name in ("DOCUMENT", "RULES", "KEY", "BUNDLE", "CHAIN", "PRIVATE")}
    files["DOCUMENT"].write_text('{"format": "dragoman.measurement/1", "p99_us": 400}')
    files["RULES"].write_text("rules: [{alias: prod, quality: better, num_approvals: 2}]")
    key.save(files["PRIVATE"], files["KEY"])
    return files


COMMANDS: dict[str, tuple[str, ...]] = {
    "up": ("up",),
    "status": ("status",),
    "token": ("token",),
    "train": ("train", "RECIPE", "--model", "r8", "--set", "train.epochs=4"),
    "jobs": ("jobs",),
    "jobs log": ("jobs", "log", "j-1"),
    "jobs show": ("jobs", "show", "j-1"),
    "models": ("models",),
    "publish": ("publish", "PACKAGE", "--model", "r8"),
    "alias": ("alias", "r8", "prod", "2", "--reason", "because"),
    "history": ("history", "r8", "prod"),
    "predict": ("predict", "r8", "record profit"),
    "feedback": ("feedback", "r-77", "0", "earn"),
    "usage": ("usage",),
    "report": ("report", "r8"),
    "events tail": ("events", "tail"),
    "evidence add": ("evidence", "add", "r8", "2", "measurement", "DOCUMENT"),
    "evidence list": ("evidence", "list", "r8", "2"),
    "approve": ("approve", "r8", "2", "--alias", "prod", "--comment", "read the report"),
    "evidence retract": ("evidence", "retract", "r8", "2", "RETRACTED", "--reason", "wrong file"),
    "repair": ("repair", "r8", "prod", "--reason", "disk lost it", "--accept-loss"),
    "rollback": ("rollback", "r8", "prod", "--reason", "slow", "--no-wait"),
    "withdraw": ("withdraw", "r8", "2", "--reason", "leaked rows"),
    "policy show": ("policy", "show", "r8"),
    "policy set": ("policy", "set", "r8", "RULES", "--reason", "four eyes"),
    "verify": ("verify", "r8", "2", "--key", "KEY"),
    "keylist create": ("keylist", "create", "CHAIN", "--sign-with", "PRIVATE"),
    "gc": ("gc", "--dry-run"),
    "lineage": ("lineage", "r8", "2"),
    "export": ("export", "r8", "2", "BUNDLE", "--key", "KEY"),
    "import": ("import", "BUNDLE", "--key", "KEY"),
    "operator add": ("operator", "add", "ada"),
    "data get": ("data", "add", "mine", "TRAIN", "TEST"),
    "data remove": ("data", "remove", "mine"),
    "data list": ("data", "list"),
    "data put": ("data", "put", "mine", "FOLDER"),
    "data list --store": ("data", "list", "--store"),
}


def write_event(home: Any) -> None:
    log = open_log(home.events_url)
    event = event_of(
        events_pb2.Prediction(tenant="local", request_id="r-77", model="r8", version=2, code="OK", label="earn"),
        source="dragoman/gateway",
        subject="r8/2",
        extensions={"modelid": "r8"},
        time=datetime(2026, 5, 1, tzinfo=UTC),
    )
    log.append(PREDICTIONS, message_key("local", "r-77"), [event])
    log.close()


@pytest.mark.parametrize("name", COMMANDS)
async def test_json_has_the_documented_shape(name: str, platform: Any, tmp_path: Path) -> None:
    write_event(platform.home)
    files = {"RECIPE": tmp_path / "recipe.yaml", "TRAIN": tmp_path / "train.csv", "TEST": tmp_path / "test.csv"}
    for path in files.values():
        path.write_text("label,text\nx,one\ny,two\n")
    files["PACKAGE"] = package(tmp_path / "package")
    files["FOLDER"] = tmp_path / "folder"
    files["FOLDER"].mkdir()
    for part in ("TRAIN", "TEST"):
        (files["FOLDER"] / files[part].name).write_bytes(files[part].read_bytes())
    if name == "data list --store":
        await platform.json("data", "put", "mine", str(files["FOLDER"]))
    files |= trust_files(tmp_path, platform.registry.key)
    if name == "data remove":
        added = [str(files[part]) for part in ("TRAIN", "TEST")]
        await platform.json("data", "add", "mine", *added, DRAGOMAN_CACHE=str(tmp_path / "cache"))
    if name in ("evidence list", "evidence retract"):
        await platform.dragoman("approve", "r8", "2")
        files["RETRACTED"] = platform.registry.evidence[0].digest[:12]
    if name == "usage":
        platform.monitor.usage.usage.add(model="r8", version=2, num_requests=3)
    if name == "import":
        await platform.dragoman("export", "r8", "2", str(files["BUNDLE"]), "--key", str(files["KEY"]))
    arguments = [str(files.get(word, word)) for word in COMMANDS[name]]
    documents = await platform.json(*arguments, DRAGOMAN_CACHE=str(tmp_path / "cache"))
    assert documents
    expected = EXAMPLES[name]
    for document in documents:
        assert shape(document) == shape(expected)


def test_down_prints_the_documented_document(home: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from dragoman_client.cli.app import app

    result = CliRunner().invoke(app, ["down", "--json"], env={"DRAGOMAN_HOME": str(home.root)})
    assert result.exit_code == 0
    assert shape(json.loads(result.stdout)) == shape(EXAMPLES["down"])


async def test_doctor_prints_the_documented_document(platform: Any) -> None:
    # The fakes have no HTTP side, so it exits with 1.
    result = await platform.dragoman("doctor", "--json")
    assert result.exit_code == 1
    assert shape(json.loads(result.stdout)) == shape(EXAMPLES["doctor"])


def test_every_documented_example_is_compared() -> None:
    assert set(EXAMPLES) == {*COMMANDS, "down", "doctor"}


def test_documented_exit_codes_are_those_of_the_command() -> None:
    documented = {code: int(number) for number, code in re.findall(r"^\| (\d+) \| `([A-Z_]+)`", DOCS, re.MULTILINE)}
    assert documented == dict(EXIT_CODES)
