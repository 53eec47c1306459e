# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent."""

import threading

import pytest

from dragoman_common import atomic


def test_replacing_leaves_the_new_bytes_and_no_other_file(tmp_path):
    path = tmp_path / "state.json"
    atomic.write_atomic(path, b"old")
    atomic.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_exclusive_creation_has_one_winner_among_16(tmp_path):
    path = tmp_path / "record"
    won = []
    barrier = threading.Barrier(16)

    def create(index):
        barrier.wait()
        try:
            atomic.create_exclusive(path, str(index).encode())
        except FileExistsError:
            return
        won.append(index)

    threads = [threading.Thread(target=create, args=(index,)) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert path.read_bytes() == str(won[0]).encode()
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_leaves_the_old_bytes(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    atomic.write_atomic(path, b"old")
    monkeypatch.setattr(atomic.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        atomic.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
