# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the launcher's tests share: conditions with a deadline, and trainers of a few lines."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 30.0

HEADER = """
import json, os, signal, sys, time
out = {k.removeprefix("DRAGOMAN_TRAINER_"): v for k, v in os.environ.items() if k.startswith("DRAGOMAN_TRAINER_")}
def finish(outcome, **more):
    path = out["RESULT_FILE"]
    with open(path + ".tmp", "w") as file:
        json.dump({"format": "dragoman.result/1", "outcome": outcome, **more}, file)
    os.replace(path + ".tmp", path)
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
if sys.argv[1:] == ["--check"]:
    text = sys.stdin.read()
    if "forbidden_key" in text:
        print(json.dumps({"error": "recipe: unknown key forbidden_key; allowed are data, tokenizer"}))
        raise SystemExit(2)
    raise SystemExit(0)
recipe = open(out["RECIPE_FILE"]).read()
"""


async def _eventually(condition: Callable[[], Any | Awaitable[Any]], what: str) -> Any:
    """Wait until `condition` gives something true, and return that."""
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        value = condition()
        if isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline_s, f"not within {DEADLINE_S:g} s: {what}"
        await asyncio.sleep(0.01)


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any], str], Awaitable[Any]]:
    return _eventually


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Make a trainer's command from the lines it runs after HEADER."""

    def make(body: str) -> tuple[str, ...]:
        script = tmp_path / f"trainer_{len(list(tmp_path.iterdir()))}.py"
        script.write_text(HEADER + body)
        return (sys.executable, "-S", str(script))

    return make
