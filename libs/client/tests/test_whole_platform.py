# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""`dragoman up` with the real services, as a user runs it: processes, ports, crashes, and what is left afterwards."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dragoman_client import Client
from dragoman_client.local.home import Home
from dragoman_client.local.ports import free_port
from dragoman_client.local.process import ProcessIdentity, processes_of_run, wait_gone
from dragoman_client.local.state import read_state

pytestmark = pytest.mark.slow
SERVICES = ["registry", "tokenizer", "launcher", "worker", "monitor", "gateway"]


class Command:
    """The installed command, for one home."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")},
            "DRAGOMAN_HOME": str(root),
            "DRAGOMAN_CACHE": str(root / "data-sets"),
            "DRAGOMAN_GRPC_PORT": str(free_port()),
            "DRAGOMAN_HTTP_PORT": str(free_port()),
        }

    def __call__(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("dragoman")), *arguments]
        environ = {**self.environ, **variables}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240, check=False)

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def dragoman(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path / "home")
    yield command
    command("down")


def run_id(command: Command) -> str:
    state = read_state(command.home)
    assert state is not None
    return state.run_id


def test_up_answers_on_both_ports_and_down_leaves_nothing(dragoman: Command) -> None:
    up = dragoman.json("up", "--detach")
    assert [service["name"] for service in up["services"]] == SERVICES
    assert {service["state"] for service in up["services"]} == {"ready"}
    token = dragoman("token").stdout.strip()
    with Client(up["grpc_target"], token) as client:
        assert client.models() == ()
    with urllib.request.urlopen(f"http://{up['http_address']}/v2/health/live", timeout=10) as response:
        assert response.status == 200
    again = dragoman.json("up", "--detach")
    assert again["already_running"] is True
    assert again["supervisor_pid"] == up["supervisor_pid"]
    run = run_id(dragoman)
    assert dragoman.json("down")["was_running"] is True
    assert processes_of_run(run, dragoman.home.jobs) == ()
    assert list(dragoman.home.run.iterdir()) == []
    assert dragoman("status").returncode == 11
    assert dragoman.json("down")["was_running"] is False


def test_killed_services_come_back_on_their_ports(dragoman: Command) -> None:
    before = {service["name"]: service for service in dragoman.json("up", "--detach")["services"]}
    for service in before.values():
        os.kill(service["pid"], signal.SIGKILL)
    after: dict[str, Any] = {}
    for _ in range(200):
        status = json.loads(dragoman("status", "--json").stdout)
        after = {service["name"]: service for service in status["services"]}
        if all(after[name]["state"] == "ready" and after[name]["pid"] != before[name]["pid"] for name in before):
            break
    assert {name: service["state"] for name, service in after.items()} == dict.fromkeys(before, "ready")
    assert {name: service["port"] for name, service in after.items()} == {n: s["port"] for n, s in before.items()}
    assert {service["num_restarts"] for service in after.values()} == {1}


def test_down_after_the_supervisor_was_killed_leaves_nothing(dragoman: Command) -> None:
    up = dragoman.json("up", "--detach")
    run = run_id(dragoman)
    supervisor = ProcessIdentity.of(up["supervisor_pid"])
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert wait_gone([supervisor], 10.0) == ()
    dragoman.json("down")
    assert processes_of_run(run, dragoman.home.jobs) == ()
    assert list(dragoman.home.run.iterdir()) == []
    assert dragoman.json("up", "--detach")["already_running"] is False


def test_up_that_fails_names_the_service_and_shows_its_log(dragoman: Command) -> None:
    done = dragoman("up", "--detach", DRAGOMAN_WORKER_MAX_BATCH_SIZE="0")
    assert done.returncode == 11
    assert "error: UNAVAILABLE: worker ended with 2" in done.stderr
    assert "MAX_BATCH_SIZE: must be at least 1" in done.stderr
    assert list(dragoman.home.run.iterdir()) == []
    assert processes_of_run("", dragoman.home.jobs) == ()


def test_foreground_up_stops_in_order_on_ctrl_c(dragoman: Command) -> None:
    command = [str(Path(sys.executable).with_name("dragoman")), "up", "--json"]
    with subprocess.Popen(command, env=dragoman.environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["phase"] == "ready"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert list(dragoman.home.run.iterdir()) == []


def test_no_secret_is_in_a_log_or_in_the_state(dragoman: Command) -> None:
    assert dragoman("up", "--detach", DRAGOMAN_TOKEN="a-token-of-the-shell").returncode == 0
    token = dragoman("token").stdout.strip()
    dragoman("models")
    services = processes_of_run(run_id(dragoman), dragoman.home.jobs)
    assert len(services) == len(SERVICES)
    assert all(b"a-token-of-the-shell" not in Path(f"/proc/{s.pid}/environ").read_bytes() for s in services)
    texts = [path.read_text() for path in (*dragoman.home.logs.iterdir(), *dragoman.home.run.iterdir())]
    for text in texts:
        assert token not in text
        assert re.search(r"eyJ[\w-]+\.[\w-]+\.", text) is None
        assert "PRIVATE KEY" not in text


LINEAR_RECIPE = """\
format: dragoman.recipe/1
name: toy
seed: 1
data: {name: "store:toy", dev_fraction: 0.2, dev_seed: 0}
tokenizer: {backend: basic_english, max_vocabulary: 0, min_frequency: 1, max_tokens: 64}
linear: {ngram_max: 1, min_document_frequency: 1, sublinear_tf: true, solver: linear_svc, c: 1.0, refit_with_dev: true}
"""


def test_a_job_trains_on_what_was_put_into_the_store_and_on_nothing_of_this_machine(
    dragoman: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    rows = [f"{label}\t{label} {word} {n}" for n in range(20) for label, word in (("fruit", "pear"), ("metal", "zinc"))]
    for part in ("train", "test"):
        (folder / f"{part}.tab").write_text("\n".join(["category\ttext", *rows]) + "\n")
    (tmp_path / "recipe.yaml").write_text(LINEAR_RECIPE)
    dragoman.json("up", "--detach")
    early = dragoman("train", str(tmp_path / "recipe.yaml"), "--model", "toy", "--json")
    assert early.returncode != 0
    assert "there is no data set toy in the store" in early.stderr

    put = dragoman.json("data", "put", "toy", str(folder))
    trained = dragoman("train", str(tmp_path / "recipe.yaml"), "--model", "toy", "--json")

    assert trained.returncode == 0, trained.stderr
    job = json.loads(trained.stdout.splitlines()[-1])["job"]
    assert (job["state"], job["published_version"]) == ("SUCCEEDED", 1)
    versions = dragoman.json("lineage", "toy", "1")["entries"]
    assert versions[0]["job_id"] == job["id"]
    # What was fetched for it does not stay beside its log for as long as the job is kept.
    assert list((dragoman.home.jobs / job["id"] / "run" / "output").iterdir()) == [
        dragoman.home.jobs / job["id"] / "run" / "output" / "package"
    ]
    assert put["sha256"] in (dragoman.home.jobs / job["id"] / "job.json").read_text()
