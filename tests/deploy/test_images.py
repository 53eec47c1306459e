# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What goes into each image: the locked closure of its service, in every way that does not take an engine to see."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/images"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


locks = load("locks")


def names(lock):
    return {re.match(r"[\w.-]+", line)[0] for line in lock.splitlines() if re.match(r"\w", line)}


def test_locks_are_what_the_members_need_of_requirements_lock():
    # Else: `python deploy/images/locks.py`.
    assert locks.files() == {path.name: path.read_text() for path in (FOLDER / "locks").iterdir()}


def test_every_entry_of_a_lock_has_a_hash():
    for path in (FOLDER / "locks").glob("*.lock"):
        entries = re.split(r"\n(?=\S)", path.read_text().strip())
        assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == [], path.name


@pytest.mark.parametrize(
    ("service", "foreign"),
    [
        ("gateway", {"torch", "scikit-learn", "minio", "sqlalchemy", "psycopg", "kubernetes"}),
        ("tokenizer", {"torch", "scikit-learn", "minio", "aiohttp", "confluent-kafka"}),
        ("registry", {"torch", "scikit-learn", "aiohttp", "sqlalchemy"}),
        ("worker", {"torch", "scikit-learn", "minio", "aiohttp", "confluent-kafka"}),
        ("launcher", {"torch", "numpy", "minio", "tokenizers", "sqlalchemy"}),
        ("trainer", {"torch", "minio", "aiohttp", "sqlalchemy", "confluent-kafka"}),
        ("monitor", {"torch", "numpy", "minio", "aiohttp"}),
    ],
)
def test_no_image_holds_another_service_s_dependencies(service, foreign):
    assert names((FOLDER / "locks" / f"{service}.lock").read_text()) & foreign == set()
    others = {f"dragoman-{image.service}" for image in locks.IMAGES if image.service != service}
    assert locks.closure((FOLDER / "locks" / f"{service}.members").read_text().split()) & others == set()


def test_tools_of_the_build_and_of_tests_are_in_no_image():
    tools = {"pip", "uv", "pytest", "hatchling", "grpcio-tools", "mypy", "hypothesis"}
    for path in (FOLDER / "locks").glob("*.lock"):
        if path.name != "build.lock":
            assert names(path.read_text()) & tools == set(), path.name


def test_a_cpu_wheel_of_torch_brings_no_cuda():
    whole, cpu = (names((FOLDER / "locks" / f"{name}.lock").read_text()) for name in ("torch", "torch-cpu"))
    assert "torch" in whole - cpu
    assert "sympy" in cpu
    assert [name for name in cpu if name.startswith(("nvidia", "cuda", "triton"))] == []


def test_the_dockerfile_copies_only_what_is_in_the_context():
    build = load("build")
    sent = subprocess.run(["tar", "-t"], input=build.context(), capture_output=True, check=True).stdout.decode().split()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    for source in " ".join(copied).split():
        for service in {image.service for image in locks.IMAGES}:
            name = source.replace("${SERVICE}", service)
            assert [path for path in sent if path == name or path.startswith(f"{name}/")], name
    assert [path for path in sent if "/tests/" in path or "__pycache__" in path or path.startswith("protos/gen/")] == []


def test_images_end_as_a_user_without_rights():
    text = (FOLDER / "Dockerfile").read_text()
    ends = [
        stage
        for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)
        if re.search(r" AS (lite|torch)$", stage.split("\n")[0])
    ]
    assert len(ends) == 2
    assert [re.findall(r"^USER (\S+)", stage, re.MULTILINE)[-1] for stage in ends] == ["65532:65532"] * 2


def test_the_bill_of_materials_says_what_is_installed(tmp_path):
    command = [sys.executable, str(FOLDER / "sbom.py"), "dragoman-worker", str(tmp_path / "bill.json")]
    subprocess.run(command, check=True, timeout=60)
    first = (tmp_path / "bill.json").read_bytes()
    subprocess.run(command, check=True, timeout=60)
    assert (tmp_path / "bill.json").read_bytes() == first
    document = json.loads(first)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    found = {component["purl"].partition("@")[0] for component in document["components"]}
    assert {"pkg:pypi/numpy", "pkg:pypi/dragoman-worker"} <= found
