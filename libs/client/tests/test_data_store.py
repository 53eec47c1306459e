# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""`dragoman data put`: what of a folder is sent, and what is refused before anything is."""

import pytest

from dragoman_client.data_store import data_files
from dragoman_common.errors import InvalidArgumentError, NotFoundError

ROWS = "label,text\nx,one\ny,two\n"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for part in ("train", "test"):
        (folder / f"{part}.csv").write_text(ROWS)
    return folder


async def test_every_file_of_a_folder_is_sent_as_it_is_and_sending_it_again_adds_nothing(platform, folder):
    (folder / "more.bin").write_bytes(bytes(range(256)) * 10_000)
    (first,) = await platform.json("data", "put", "mine", str(folder))
    (again,) = await platform.json("data", "put", "mine", str(folder))
    assert platform.data.files["mine"] == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert (first["created"], again["created"]) == (True, False)
    assert first["sha256"] == again["sha256"]
    (listed,) = await platform.json("data", "list", "--store")
    assert [found["name"] for found in listed["data"]] == ["mine"]


async def test_without_a_folder_it_is_the_data_set_of_this_machine(platform, folder, tmp_path):
    cache = str(tmp_path / "cache")
    await platform.json(
        "data", "add", "mine", str(folder / "train.csv"), str(folder / "test.csv"), DRAGOMAN_CACHE=cache
    )
    result = await platform.dragoman("data", "put", "mine", DRAGOMAN_CACHE=cache)
    assert "store:mine@" in result.stdout
    assert set(platform.data.files["mine"]) == {"train.csv", "test.csv", "source.json"}
    missing = await platform.dragoman("data", "put", "other", DRAGOMAN_CACHE=cache)
    assert missing.exit_code == 3


async def test_a_registry_that_kept_something_else_is_not_believed(platform, folder):
    platform.data.other_digest = "ab" * 32
    result = await platform.dragoman("data", "put", "mine", str(folder))
    assert result.exit_code != 0
    assert "answers with the digest" in result.stderr


def test_a_folder_that_training_cannot_use_is_refused_before_anything_is_sent(folder, tmp_path):
    with pytest.raises(NotFoundError):
        data_files(tmp_path / "nowhere")
    (folder / "sub").mkdir()
    with pytest.raises(InvalidArgumentError, match="not a plain file"):
        data_files(folder)
    (folder / "sub").rmdir()
    (folder / "link").symlink_to(folder / "train.csv")
    with pytest.raises(InvalidArgumentError, match="not a plain file"):
        data_files(folder)
    (folder / "link").unlink()
    (folder / ".hidden").write_text("")
    with pytest.raises(InvalidArgumentError, match="hidden"):
        data_files(folder)
    (folder / ".hidden").unlink()
    (folder / "test.csv").write_text("label,text\nz,two\n")
    with pytest.raises(InvalidArgumentError, match="does not occur in the train file"):
        data_files(folder)
    (folder / "test.csv").unlink()
    with pytest.raises(InvalidArgumentError, match="neither train and test"):
        data_files(folder)
    (folder / "vectors.txt").write_text("word 1 2")
    assert [file.path for file in data_files(folder)] == ["train.csv", "vectors.txt"]
