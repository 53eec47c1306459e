# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A version source in memory with one version in it, and the service over it."""

import importlib.util
import json
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from dragoman_text import BasicEnglishTokenizer
from dragoman_tokenizer.memory import MemoryVersionSource
from dragoman_tokenizer.version_tokenizers import VersionTokenizers

TEXTS = ["grain and wheat shipments rose.", "the ship carried grain", "wheat prices fell"]


def model_json(**changes):
    value = {
        "format": "dragoman.model/1",
        "task": "text-classification",
        "architecture": {"name": "linear", "hyperparameters": {}},
        "labels": ["grain", "ship"],
        "tokenizer": {"backend": "basic_english", "file": "tokenizer.json"},
        "input_limits": {"max_text_bytes": 65536, "max_tokens": 8},
        "numerics": "fp32",
    }
    return json.dumps(value | changes).encode()


def version_files(texts=TEXTS, **changes):
    return {"model.json": model_json(**changes), "tokenizer.json": BasicEnglishTokenizer.build(texts).to_json()}


@pytest.fixture
def files():
    return version_files


@pytest.fixture
def source():
    source = MemoryVersionSource()
    source.publish("local", "r8", 3, version_files())
    return source


@pytest.fixture
def executor():
    with ThreadPoolExecutor(2) as executor:
        yield executor


class InlineExecutor(Executor):
    """Does the work at once, in the thread that asks."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture
def inline():
    return InlineExecutor()


@pytest.fixture
async def tokenizers(source, executor):
    tokenizers = VersionTokenizers(
        source, executor, max_cached_bytes=1_000_000, max_cached_versions=100, load_timeout_s=10
    )
    yield tokenizers
    await tokenizers.close()


@pytest.fixture(scope="session")
def registry_server():
    return load_beside("registry_server")


def load_beside(name):
    """A module of this folder: under importlib mode test folders are not on the path."""
    spec = importlib.util.spec_from_file_location(f"tokenizer_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
