# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What we ship, built as it ships: no code that runs what it reads, nothing that runs at interpreter start."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.repository.shipped_code import violations

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = sorted(path.parent for path in [*ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")])


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
    ]
    subprocess.run([*command, *MEMBERS], check=True, timeout=300)
    return sorted(folder.glob("*.whl"))


@pytest.mark.slow
def test_every_member_builds_a_wheel(wheels):
    assert len(wheels) == len(MEMBERS) >= 12


@pytest.mark.slow
def test_wheels_hold_no_code_that_runs_what_it_reads(wheels):
    found = []
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                assert not name.endswith((".pth", ".so", ".pkl")), f"{wheel.name}: {name}"
                if name.endswith(".py"):
                    found += [f"{wheel.name}: {name}:{what}" for what in violations(archive.read(name).decode())]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import joblib.numpy_pickle",
        "from pickle import loads",
        "from torch import load",
        "import torch\ntorch.load('x')",
        "import yaml\nyaml.load('x', Loader=None)",
        "eval('1')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "f(trust_remote_code=flag)",
        "run('x', shell=True)",
    ],
)
def test_the_check_sees_what_it_forbids(source):
    assert list(violations(source))


def test_the_check_lets_safe_code_pass():
    assert (
        list(violations("import yaml\nyaml.safe_load('x')\nimport numpy as np\nnp.load('x', allow_pickle=False)")) == []
    )
