# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Names: what every service takes for one, and what none does."""

import re
import subprocess
from pathlib import Path

import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.names import RULE, check_name, is_name

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["a", "7", "r8", "bbc-news.v2_final", "a" * 63])
def test_plain_names_pass(name):
    assert check_name(name, field="model") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 64,
        "R8",
        "../x",
        "a..b",
        ".a",
        "a.",
        "-rf",
        "a/b",
        "a\\b",
        "a%2e",
        "a\n",
        "a\0b",
        "$(x)",
        "é",
        "a\u2024b",
    ],
)
def test_anything_that_two_systems_could_read_differently_is_refused_with_the_rule(name):
    assert not is_name(name)
    with pytest.raises(InvalidArgumentError, match=re.escape(RULE)) as caught:
        check_name(name, field="model")
    assert len(str(caught.value)) < 300


def test_the_rule_stands_in_one_place():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "libs", "services"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    sources = [ROOT / name for name in listed if name.endswith(".py") and "/src/" in name and (ROOT / name).is_file()]
    holders = [path.name for path in sources if "._-]{0,61}" in path.read_text()]
    assert holders == ["names.py"]
