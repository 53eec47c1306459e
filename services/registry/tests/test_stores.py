# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Every object store keeps the port's contract; the folder also keeps to itself."""

import errno
import os
import time
from pathlib import Path

import pytest

from dragoman_common.errors import DataLossError, DragomanError, InvalidArgumentError, UnavailableError
from dragoman_registry.contracts import BLOB, DATA, KEY, SHA256, ObjectStoreContract, stream
from dragoman_registry.folder import FolderStore
from dragoman_registry.memory import MemoryStore
from dragoman_registry.ports import ObjectExistsError
from dragoman_registry.settled import create_settled, probe


class TestMemoryStore(ObjectStoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestFolderStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path):
        store = FolderStore(tmp_path / "store")
        yield store
        assert list((tmp_path / "store" / ".tmp").iterdir()) == [], "no temporary file stays behind"
        store.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path):
    store = FolderStore(tmp_path / "store")
    yield store
    store.close()


@pytest.mark.parametrize(
    "key",
    ["../x", "/etc/passwd", "a/../../x", "a//b", "", "a/\0", "a/\n", ".tmp/x", "A/b", "-rf", "$(x)", "%2e%2e"],
)
async def test_no_key_leads_out_of_the_root(folder: FolderStore, tmp_path: Path, key: str):
    for attempt in (folder.create(key, DATA), folder.read(key), folder.names_below(key)):
        with pytest.raises(InvalidArgumentError):
            await attempt
    assert names(tmp_path) == ["store"]


async def test_a_planted_link_is_not_followed(folder: FolderStore, tmp_path: Path):
    (tmp_path / "outside" / "models").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "store" / "tenants").symlink_to(tmp_path / "outside")
    for attempt in (folder.create(KEY, DATA), folder.read(KEY), folder.names_below("tenants")):
        with pytest.raises(DataLossError):
            await attempt
    (tmp_path / "store" / "blob").symlink_to(tmp_path / "secret")
    with pytest.raises(DataLossError):
        await folder.read("blob")
    assert list((tmp_path / "outside" / "models").iterdir()) == []


async def test_a_planted_pipe_does_not_hang_the_reader(folder: FolderStore, tmp_path: Path):
    os.mkfifo(tmp_path / "store" / "pipe")
    with pytest.raises(DataLossError):
        await folder.read("pipe")


async def test_files_and_folders_are_the_owners_alone(folder: FolderStore, tmp_path: Path):
    await folder.create(KEY, DATA)
    await folder.put_blob(BLOB, stream(DATA), size_bytes=10, sha256=SHA256)
    for path in (tmp_path / "store").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


async def test_what_a_crash_left_is_removed_a_day_later_and_not_sooner(tmp_path: Path):
    temporary = tmp_path / "store" / ".tmp"
    FolderStore(tmp_path / "store").close()
    for name, age_s in (("old", 2 * 24 * 3600), ("new", 3600)):
        (temporary / name).write_bytes(b"")
        os.utime(temporary / name, (time.time() - age_s,) * 2)
    FolderStore(tmp_path / "store").close()
    assert list(temporary.iterdir()) == [temporary / "new"]


async def test_a_store_that_replaces_objects_is_refused():
    class Replacing(MemoryStore):
        async def create(self, key: str, data: bytes) -> None:
            self.objects[key] = data

    with pytest.raises(UnavailableError, match="create-if-absent"):
        await probe(Replacing(), "probe")


class LosesReplies(MemoryStore):
    """Keeps what it is given and says that it does not answer."""

    async def create(self, key: str, data: bytes) -> None:
        await super().create(key, data)
        raise UnavailableError("no reply")


async def test_a_lost_reply_is_settled_by_reading_back():
    store = LosesReplies()
    await create_settled(store, KEY, b"mine")
    with pytest.raises(ObjectExistsError):
        await create_settled(store, KEY, b"other")


async def test_a_write_that_did_not_happen_stays_an_error():
    class Dead(MemoryStore):
        async def create(self, key: str, data: bytes) -> None:
            raise UnavailableError("no reply")

    with pytest.raises(UnavailableError):
        await create_settled(Dead(), KEY, b"mine")


async def test_a_root_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DragomanError, match="root"):
        FolderStore(tmp_path / "file" / "store")


async def test_a_full_disk_is_unavailable_leaves_nothing_and_heals(folder: FolderStore, tmp_path: Path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UnavailableError, match="No space"):
            await folder.create(KEY, DATA)
        with pytest.raises(UnavailableError, match="No space"):
            await folder.put_blob(BLOB, stream(DATA), size_bytes=10, sha256=SHA256)
    assert names(tmp_path / "store" / ".tmp") == []
    await folder.create(KEY, DATA)
    await folder.put_blob(BLOB, stream(DATA), size_bytes=10, sha256=SHA256)
    assert await folder.read(BLOB) == DATA
