# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A process that a test kills is gone with its children; parts are looked for where they may be, and made once."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.parts import cache, hosts
from tests.parts.hosts import GONE, Process
from tests.parts.missing import MissingPartError, required

# Eight children that end with nobody's help, each of them known by a file once it lives.
PARENT = """
import os, pathlib, signal, sys
for number in range(8):
    if os.fork() == 0:
        pathlib.Path(sys.argv[1], str(os.getpid())).touch()
        signal.pause()
signal.pause()
"""
NUM_CHILDREN = 8
TIMEOUT_S = 30
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def family(tmp_path):
    born = tmp_path / "born"
    born.mkdir()
    process = Process([sys.executable, "-c", PARENT, born], tmp_path / "log", environ={})
    process.start()
    waiting = threading.Event()
    while len(list(born.iterdir())) < NUM_CHILDREN and process.is_alive():
        waiting.wait(0.01)
    yield process, [int(path.name) for path in born.iterdir()]
    process.kill()


def test_killed_process_is_gone_with_all_its_children(family):
    process, children = family
    process.kill()
    assert len(children) == NUM_CHILDREN
    assert {hosts._state(pid) for pid in (process.pid, *children)} <= set(GONE)


def test_paused_process_can_be_killed_with_all_its_children(family):
    process, children = family
    process.pause()
    assert {hosts._state(pid) for pid in (process.pid, *children)} == {"T"}
    process.kill()
    assert {hosts._state(pid) for pid in (process.pid, *children)} <= set(GONE)


def test_resumed_process_runs_on_with_all_its_children(family):
    process, children = family
    process.pause()
    process.resume()
    assert "T" not in {hosts._state(pid) for pid in (process.pid, *children)}


def test_process_ends_with_the_run_that_is_killed(tmp_path):
    run = """
import pathlib, signal, sys
from tests.parts.hosts import Process
process = Process(["/bin/sleep", "1000"], pathlib.Path(sys.argv[1]), environ={})
process.start()
print(process.pid, flush=True)
signal.pause()
"""
    command = [sys.executable, "-c", run, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as runner:
        pid = int(runner.stdout.readline())
        assert hosts._state(pid) not in GONE
        runner.kill()
    ends_s = time.monotonic() + TIMEOUT_S
    while hosts._state(pid) not in GONE and time.monotonic() < ends_s:
        threading.Event().wait(0.01)
    assert hosts._state(pid) in GONE


def test_racing_runs_make_a_part_once_and_all_find_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[Path] = []
    found: list[Path] = []

    def make(into: Path) -> None:
        made.append(into)
        (into / "part").write_text("whole")

    threads = [
        threading.Thread(target=lambda: found.append(cache.made_once("some", "1", make) / "part")) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert len(made) == 1
    assert [path.read_text() for path in found] == ["whole"] * 16


def test_part_that_could_not_be_made_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fail(into: Path) -> None:
        (into / "half").touch()
        raise MissingPartError("no network")

    with pytest.raises(MissingPartError):
        cache.made_once("some", "1", fail)
    made = cache.made_once("some", "1", lambda into: (into / "whole").touch())
    assert [path.name for path in made.iterdir()] == ["whole"]


@pytest.mark.parametrize("hashes", [{"some.jar": "0" * 64}, {}, {"other.jar": "0" * 64}])
def test_fetched_files_that_are_not_the_pinned_ones_are_refused(tmp_path, monkeypatch, hashes):
    maven, into = tmp_path / "mvn", tmp_path / "into"
    maven.write_text(f"#!/bin/sh\necho changed >{into}/some.jar\n")
    maven.chmod(0o755)
    into.mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(MissingPartError, match=r"some\.jar"):
        cache.from_maven(["group:some:1"], hashes, into)


def test_images_alone_are_taken_where_the_environment_says_so(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.setenv("DRAGOMAN_TEST_PARTS", "container")
    with pytest.raises(MissingPartError, match="make test-images"):
        hosts.image("localhost/dragoman-kafka")


def test_misspelt_kind_of_part_is_named(monkeypatch):
    monkeypatch.setenv("DRAGOMAN_TEST_PARTS", "containers")
    with pytest.raises(MissingPartError, match="'containers'"):
        hosts.image("localhost/dragoman-kafka")


def nothing():
    raise MissingPartError("no Java")


def test_missing_part_skips_with_its_reason_where_it_may_be_missing(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("ALLOW_MISSING", "minio, kafka")
    with pytest.raises(pytest.skip.Exception, match="kafka: no Java"):
        required("kafka", nothing)


@pytest.mark.parametrize(("allowed", "ci"), [("", ""), ("minio", ""), ("kafka", "true")])
def test_missing_part_ends_the_run_elsewhere_and_always_in_ci(monkeypatch, allowed, ci):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("ALLOW_MISSING", allowed)
    with pytest.raises(pytest.exit.Exception, match="kafka: no Java"):
        required("kafka", nothing)
