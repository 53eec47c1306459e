# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Whoever moves an alias hears whether its version can answer, and everybody can ask later."""

import json
from typing import Any

import pytest

from dragoman.inference.v1.worker_pb2 import LOAD_STATE_FAILED, LOAD_STATE_LOADING, LOAD_STATE_READY


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


async def test_alias_asks_a_worker_that_was_away_for_a_moment_again(platform: Any) -> None:
    platform.worker.num_cuts = 1
    [document] = await platform.json("alias", "r8", "prod", "2", "--reason", "better")
    assert document["load_state"] == "ready"


async def test_models_of_a_platform_whose_worker_is_away_are_still_listed(platform: Any) -> None:
    platform.worker.num_cuts = 9
    [document] = await platform.json("models")
    assert {model["aliases"][0]["load_state"] for model in document["models"]} == {"unknown"}
    result = await platform.dragoman("status", "--json")
    assert (result.exit_code, json.loads(result.stdout)["failed_versions"]) == (11, None)


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


async def test_rollback_waits_until_the_version_it_goes_back_to_answers(platform: Any) -> None:
    version = platform.worker.version
    platform.worker.reports = [
        [version(LOAD_STATE_READY)],
        [version(LOAD_STATE_LOADING, number=1)],
        [version(LOAD_STATE_READY, number=1)],
    ]
    [document] = await platform.json("rollback", "r8", "prod")
    assert (document["event"]["version"], document["load_state"]) == (1, "ready")
    platform.worker.reports = [[version(LOAD_STATE_READY, number=1)]]
    assert "r8@prod -> version 1" in (text := (await platform.dragoman("rollback", "r8", "prod")).stdout)
    assert ", ready" in text


async def test_rollback_to_a_version_that_cannot_be_loaded_fails_as_alias_does(platform: Any) -> None:
    platform.worker.reports = [[platform.worker.version(LOAD_STATE_FAILED, "DATA_LOSS: no", number=1)]]
    result = await platform.dragoman("rollback", "r8", "prod")
    assert result.exit_code == 12
    assert "error: DATA_LOSS: the worker cannot load r8 version 1: DATA_LOSS: no; the move stands" in result.stderr


@pytest.mark.parametrize("command", [("rollback", "r8", "prod"), ("alias", "r8", "prod", "2", "--reason", "x")])
async def test_a_move_can_be_left_to_itself(platform: Any, command: tuple[str, ...]) -> None:
    # A worker that says nothing would be waited for.
    platform.worker.reports = []
    [document] = await platform.json(*command, "--no-wait")
    assert (document["load_state"], document["load_reason"]) == (None, None)
    result = await platform.dragoman("rollback", "r8", "prod", "--wait-s", "0.2")
    assert (result.exit_code, "no worker is ready" in result.stderr) == (11, True), result.stderr
