# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A writer with full access to the store: nothing of his loads, and what served before goes on serving."""

import asyncio
import base64
import contextlib
import json
import shutil

import pytest

from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman_common import errors
from dragoman_common.channel import connect
from dragoman_common.service_keys import KeyTokens
from tests.integration.installation import until

DATA_LOSS_EXIT = 12
FILES = ("model.json", "weights.safetensors", "tokenizer.json", "evaluation.json", "card.md")


@pytest.fixture(scope="module")
def package(trained):
    """The files of version 1, as a folder: with another card it can be published again as new content."""
    folder = trained.home.parent / "package"

    async def download():
        async with trained.operator() as operator:
            for name in FILES:
                (folder / name).write_bytes(await operator.file("topics", 1, name))

    folder.mkdir()
    asyncio.run(download())
    return folder


def published(trained, package, model, tmp_path, mark):
    """Publish content that no version has had yet; returns its number."""
    folder = tmp_path / f"{model}-{mark}"
    shutil.copytree(package, folder)
    card = folder / "card.md"
    card.write_text(f"{card.read_text()}\n{model} {mark}\n")
    return int(trained.json("publish", str(folder), "--model", model)["version"]["number"])


async def failure_of(trained, model, version):
    """The reason for which the worker does not load a version, once it has tried."""
    tokens = KeyTokens(trained.key("operator"), tenant="local")
    async with connect(trained.service_target("worker"), audience="worker", tokens=tokens) as channel:
        watch = worker_pb2_grpc.WorkerServiceStub(channel).WatchLoaded(worker_pb2.WatchLoadedRequest(), timeout=30)
        async for update in watch:
            for held in update.versions:
                if (held.model, held.number, held.state) == (model, version, worker_pb2.LOAD_STATE_FAILED):
                    return held.reason
    raise AssertionError("the watch ended")


def blob_of(trained, sha256):
    return trained.home / "store" / "tenants" / "local" / "blobs" / "sha256" / sha256


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


@pytest.mark.parametrize("name", FILES)
async def test_flipped_bit_in_any_file_is_refused_and_the_old_version_serves_on(trained, package, tmp_path, name):
    model = f"tampered-{name.partition('.')[0]}"
    good = published(trained, package, model, tmp_path, "good")
    trained.serve(model, good)
    bad = published(trained, package, model, tmp_path, "bad")
    async with trained.operator() as operator:
        version = await operator.version(model, bad)
    with trained.client() as client:
        assert client.classify(model, ["grain1"], timeout_s=30).version == good
        flip(blob_of(trained, next(file.sha256 for file in version.files if file.path == name)))
        # The gate reads some files itself: then it is the registry that refuses, and the alias stays.
        exit_code = trained.exit_code("alias", model, "prod", str(bad), "--reason", "test")
        assert exit_code == DATA_LOSS_EXIT or "DATA_LOSS" in await failure_of(trained, model, bad)
        assert {client.classify(model, ["grain1"], timeout_s=30).version for _ in range(20)} == {good}


async def test_old_version_serves_again_after_the_worker_was_killed(trained, package, tmp_path):
    model = "tampered-restart"
    good = published(trained, package, model, tmp_path, "good")
    trained.serve(model, good)
    bad = published(trained, package, model, tmp_path, "bad")
    async with trained.operator() as operator:
        version = await operator.version(model, bad)
    flip(blob_of(trained, next(file.sha256 for file in version.files if file.path == "card.md")))
    # The command waits for the version and so fails; the alias has moved, or the worker would not try to load it.
    assert trained.exit_code("alias", model, "prod", str(bad), "--reason", "test") in {0, DATA_LOSS_EXIT}
    assert "DATA_LOSS" in await failure_of(trained, model, bad)
    # The new front has never held the old version: only the alias's chain knows of it.
    trained.kill_service("worker")
    with trained.client() as client:

        def answering():
            with contextlib.suppress(errors.UnavailableError):
                return client.classify(model, ["grain1"], timeout_s=30).version
            return None

        until(lambda: answering() == good, timeout_s=60)
        assert {client.classify(model, ["grain1"], timeout_s=30).version for _ in range(20)} == {good}
    assert "DATA_LOSS" in await failure_of(trained, model, bad)


async def test_alias_event_copied_from_another_alias_is_refused(trained, package, tmp_path):
    first = published(trained, package, "copied", tmp_path, "one")
    trained.serve("copied", first)
    other = published(trained, package, "source", tmp_path, "two")
    trained.serve("source", other)
    models = trained.home / "store" / "tenants" / "local" / "models"
    newest = max((models / "source" / "aliases" / "prod").iterdir())
    shutil.copy(
        newest, newest.parent.parent.parent.parent / "copied" / "aliases" / "prod" / newest.name.replace("1", "2")
    )
    with trained.client() as client:
        answers = {client.classify("copied", ["grain1"], timeout_s=30).version for _ in range(20)}
        assert answers == {first}
        assert client.classify("topics", ["grain1"]).version == 2
    with pytest.raises(errors.DataLossError, match="copied"):
        async with trained.operator() as operator:
            await operator.alias("copied", "prod")


@pytest.mark.parametrize("forgery", ["a file is added", "it belongs to another model"])
async def test_forged_manifest_is_refused_and_the_old_version_serves_on(trained, package, tmp_path, forgery):
    model = f"forged-{len(forgery)}"
    good = published(trained, package, model, tmp_path, "good")
    trained.serve(model, good)
    bad = published(trained, package, model, tmp_path, "bad")
    manifest = trained.home / "store" / "tenants" / "local" / "models" / model / "versions" / str(bad)
    manifest.chmod(0o600)
    if forgery == "a file is added":
        envelope = json.loads(manifest.read_text())
        signed = envelope.get("manifest", envelope)
        payload = json.loads(base64.b64decode(signed["payload"]))
        payload["files"].append({"path": "run.py", "size_bytes": 1, "sha256": "0" * 64})
        signed["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
        manifest.write_text(json.dumps(envelope))
    else:
        shutil.copy(trained.home / "store" / "tenants" / "local" / "models" / "topics" / "versions" / "1", manifest)
    # The registry may have the true manifest in memory; a restarted one reads the forged one and must refuse it.
    trained.kill_service("registry")
    assert trained.exit_code("alias", model, "prod", str(bad), "--reason", "test") == DATA_LOSS_EXIT
    with trained.client() as client:
        assert {client.classify(model, ["grain1"], timeout_s=30).version for _ in range(20)} == {good}
