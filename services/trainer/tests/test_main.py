# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The process as its parent sees it: environment in; exit status, last line of stdout and result file out."""

import json
import os
import signal
import subprocess
import sys

import pytest

from dragoman_trainer.local import LocalReporter, StoppableReporter
from dragoman_trainer.ports import JobCancelledError, Progress
from dragoman_trainer.stopping import Stop


@pytest.fixture
def train(toy, tmp_path):
    def run(recipe, **settings):
        path = tmp_path / "recipe.yaml"
        if recipe is not None:
            path.write_text(recipe, encoding="utf-8")
        given = {
            "RECIPE_FILE": str(path),
            "DATA_DIR": str(toy),
            "OUTPUT_DIR": str(tmp_path / "out"),
            "RESULT_FILE": str(tmp_path / "result.json"),
        } | settings
        environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
        environment |= {f"DRAGOMAN_TRAINER_{name}": value for name, value in given.items()}
        done = subprocess.run(
            [sys.executable, "-m", "dragoman_trainer"], env=environment, capture_output=True, text=True, check=False
        )
        result = tmp_path / "result.json"
        return done, json.loads(result.read_text(encoding="utf-8")) if result.exists() else None

    return run


def test_a_run_prints_its_metrics_last_and_writes_its_result(train, linear_recipe, tmp_path):
    done, result = train(linear_recipe)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout.splitlines()[-1])
    assert metrics["test_accuracy"] >= 0.9
    assert metrics["test_rows"] == 90
    assert result == {
        "format": "dragoman.result/1",
        "outcome": "succeeded",
        "message": f"test accuracy {metrics['test_accuracy']:.4f}",
    }
    assert all(json.loads(line) for line in done.stderr.splitlines())


def test_a_linear_run_loads_neither_torch_nor_grpc(train, linear_recipe, tmp_path):
    code = (
        "import runpy, sys\n"
        "try:\n    runpy.run_module('dragoman_trainer', run_name='__main__')\n"
        "except SystemExit as end:\n    print(end.code, sorted({'torch', 'grpc'} & set(sys.modules)))\n"
    )
    (tmp_path / "recipe.yaml").write_text(linear_recipe, encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "DRAGOMAN_TRAINER_RECIPE_FILE": str(tmp_path / "recipe.yaml"),
        "DRAGOMAN_TRAINER_DATA_DIR": str(tmp_path / "data"),
        "DRAGOMAN_TRAINER_OUTPUT_DIR": str(tmp_path / "out"),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_bad_recipe_key_fails_with_its_message(train, linear_recipe):
    done, result = train(linear_recipe.replace("ngram_max", "ngrammax"))
    assert done.returncode == 1
    assert result["outcome"] == "failed"
    assert (
        "recipe.yaml: linear: unknown key 'ngrammax'; allowed: c, class_weights, min_document_frequency"
        in result["message"]
    )
    assert "Traceback" not in done.stderr


def test_a_missing_data_set_fails_with_what_to_do(train, linear_recipe):
    done, result = train(linear_recipe, OVERRIDES="data.name=r8")
    assert done.returncode == 1
    assert "fetch it with 'dragoman data get r8'" in result["message"]


def test_a_missing_recipe_is_named(train):
    done, result = train(None)
    assert done.returncode == 1
    assert "recipe.yaml cannot be read" in result["message"]


def test_checking_trains_nothing(train, linear_recipe, tmp_path):
    done, result = train(linear_recipe, CHECK_ONLY="true")
    assert (done.returncode, result["outcome"]) == (0, "succeeded")
    assert not (tmp_path / "out").exists()
    done, result = train(linear_recipe, CHECK_ONLY="true", OVERRIDES="linear.c=-1")
    assert (done.returncode, result["outcome"]) == (1, "failed")
    assert "c must be a number from 0.0001 to 10000" in result["message"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"EPOCHS": "3"}, "DRAGOMAN_TRAINER_EPOCHS: no such setting"),
        ({"REGISTRY_TARGET": "127.0.0.1:1"}, "need TOKEN_FILE (or POD_TOKEN_FILE) and JOB_ID"),
    ],
)
def test_wrong_settings_end_the_process_with_2(train, linear_recipe, settings, message):
    done, result = train(linear_recipe, **settings)
    assert done.returncode == 2
    assert message in done.stderr
    assert result is None


def test_a_launcher_that_is_away_does_not_stop_the_run(train, linear_recipe, tmp_path):
    (tmp_path / "token").write_text("x", encoding="ascii")
    done, result = train(
        linear_recipe, LAUNCHER_TARGET="127.0.0.1:1", TOKEN_FILE=str(tmp_path / "token"), JOB_ID="job-1"
    )
    assert (done.returncode, result["outcome"]) == (0, "succeeded")
    assert "progress was not delivered" in done.stderr


def test_a_terminated_run_says_cancelled_and_leaves_no_package(rnn_recipe, toy, tmp_path):
    (tmp_path / "recipe.yaml").write_text(rnn_recipe.replace("epochs: 6", "epochs: 1000"), encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "OMP_NUM_THREADS": "1",
        "DRAGOMAN_TRAINER_RECIPE_FILE": str(tmp_path / "recipe.yaml"),
        "DRAGOMAN_TRAINER_DATA_DIR": str(toy),
        "DRAGOMAN_TRAINER_OUTPUT_DIR": str(tmp_path / "out"),
        "DRAGOMAN_TRAINER_RESULT_FILE": str(tmp_path / "result.json"),
    }
    command = [sys.executable, "-m", "dragoman_trainer"]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        while "epoch done" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 3
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["outcome"] == "cancelled"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_stop_whose_exception_was_lost_ends_the_run_at_the_next_report():
    stop = Stop()
    told = []

    class Recorder(LocalReporter):
        def report(self, progress):
            told.append(progress.stage)

    reporter = StoppableReporter(Recorder(), stop.check)
    reporter.report(Progress(stage="load", metrics={}))
    with pytest.raises(JobCancelledError):
        stop.on_signal(signal.SIGTERM, None)
    with pytest.raises(JobCancelledError):
        reporter.report(Progress(stage="train", metrics={}))
    assert told == ["load"]


def test_a_stop_that_is_held_off_ends_the_run_when_it_is_no_more():
    stop = Stop()
    with pytest.raises(JobCancelledError), stop.held_off():
        stop.on_signal(signal.SIGTERM, None)
        stop.check()
        held_off_to_the_end = True
    assert held_off_to_the_end
    with pytest.raises(ZeroDivisionError), stop.held_off():
        1 / 0  # noqa: B018  what ends the run otherwise goes before


def test_being_told_to_stop_passes_through_whoever_keeps_exceptions():
    assert not issubclass(JobCancelledError, Exception)
