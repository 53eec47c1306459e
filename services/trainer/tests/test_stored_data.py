# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets out of the store: the same weights as from a folder, and nothing that its digest does not cover."""

import hashlib
from pathlib import Path

import pytest

from dragoman_common.errors import DataLossError, FailedPreconditionError, InvalidArgumentError
from dragoman_models.data_set import StoredName, data_sha256
from dragoman_models.file_digest import FileDigest
from dragoman_trainer.local import LocalReporter
from dragoman_trainer.recipe import parse_recipe
from dragoman_trainer.stored_data import fetch
from dragoman_trainer.training import run


class Store:
    """Has data sets of one version each, and gives other things where a test says so."""

    def __init__(self, folders: dict[str, Path]):
        self.contents = {
            name: {path.name: path.read_bytes() for path in folder.iterdir()} for name, folder in folders.items()
        }
        self.listed = None
        self.sent = {}
        self.num_reads = 0

    def list(self, name):
        return [
            FileDigest(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for path, data in sorted(self.contents[name].items())
        ]

    def files(self, stored):
        files = self.list(stored.name)
        return data_sha256(files), self.listed or files

    def read(self, name, sha256, file):
        self.num_reads += 1
        data = self.sent.get(file.path, self.contents[name].get(file.path, b""))
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]


@pytest.fixture
def store(toy):
    return Store({"toy": toy / "toy", "toy-vectors": toy / "toy-vectors"})


def test_training_from_the_store_gives_the_weights_of_training_from_a_folder(store, toy, rnn_recipe, tmp_path):
    text = rnn_recipe.replace("epochs: 6", "epochs: 1")
    digest = data_sha256(store.list("toy"))
    stored = text.replace("name: toy,", f"name: 'store:toy@{digest}',").replace(
        "vectors: toy-vectors", "vectors: store:toy-vectors"
    )
    results = {}
    for name, recipe_text, data_dir in (("local", text, toy), ("stored", stored, tmp_path / "nothing")):
        recipe = parse_recipe(recipe_text, file="toy.yaml")
        (tmp_path / name).mkdir()
        results[name] = run(
            recipe,
            recipe_text,
            data_dir=data_dir,
            output_dir=tmp_path / name,
            reporter=LocalReporter(),
            data_source=store,
        )
    assert results["local"].weights_sha256 == results["stored"].weights_sha256
    assert results["stored"].evaluation.name == "toy"


def test_what_is_there_is_not_fetched_again_and_a_folder_has_the_listed_files_alone(store, tmp_path):
    for _ in range(2):
        fetch(StoredName("toy"), tmp_path / "fetched", store)
    folder = tmp_path / "fetched" / "toy"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == store.contents["toy"]
    assert store.num_reads == len(store.contents["toy"])


@pytest.mark.parametrize("damage", ["flipped", "longer", "shorter", "missing", "unlisted", "digest", "path"])
def test_nothing_is_left_of_what_does_not_follow_from_the_digest(store, tmp_path, damage):
    data = store.contents["toy"]["train.tab"]
    wanted = StoredName("toy", data_sha256(store.list("toy")))
    if damage in ("flipped", "longer", "shorter", "missing"):
        bad = {"flipped": data.replace(b"a", b"b", 1), "longer": data + b"x", "shorter": data[:-1], "missing": b""}
        store.sent["train.tab"] = bad[damage]
    elif damage == "unlisted":
        store.listed = [*store.list("toy"), FileDigest(path="x.tab", size_bytes=0, sha256="0" * 64)]
    elif damage == "digest":
        wanted = StoredName("toy", "0" * 64)
    else:
        store.contents["toy"]["../../evil"] = b"x"
        wanted = StoredName("toy")
    with pytest.raises(DataLossError):
        fetch(wanted, tmp_path / "fetched", store)
    assert not any((tmp_path / "fetched").glob("*")) if (tmp_path / "fetched").exists() else True
    assert not (tmp_path / "evil").exists()


def test_the_store_needs_a_registry(toy, linear_recipe, tmp_path):
    recipe = parse_recipe(linear_recipe.replace("name: toy,", "name: 'store:toy',"), file="toy.yaml")
    with pytest.raises(FailedPreconditionError, match="no REGISTRY_TARGET"):
        run(recipe, "", data_dir=toy, output_dir=tmp_path, reporter=LocalReporter())


@pytest.mark.parametrize("name", ["store:", "store:../x", "store:toy@12", "other:toy"])
def test_a_name_that_is_none_is_refused(linear_recipe, name):
    with pytest.raises(InvalidArgumentError, match=r"toy\.yaml: data: name"):
        parse_recipe(linear_recipe.replace("name: toy,", f"name: '{name}',"), file="toy.yaml")
