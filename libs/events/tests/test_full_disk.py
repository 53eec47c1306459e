# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A full disk: refused in words that help, nothing half-written, and it heals without a restart."""

import os
import shutil
import subprocess
import threading

import pytest

from dragoman_common.errors import UnavailableError
from dragoman_events.contracts import TOPIC, event
from dragoman_events.ports import Message
from dragoman_events.sqlite_log import SqliteEventLog

VALUE = b"x" * 2_000
NUM_MESSAGES = 10


def append_until_full(log):
    """Whole appends of ten messages; returns how many were acknowledged, and the refusal."""
    num_acknowledged = 0
    while True:
        try:
            log.write(TOPIC, [Message(key=b"k", value=VALUE) for _ in range(NUM_MESSAGES)])
        except UnavailableError as error:
            return num_acknowledged, error
        num_acknowledged += NUM_MESSAGES


def assert_full_and_then_healed(log, path, make_space):
    num_acknowledged, error = append_until_full(log)
    assert num_acknowledged
    assert str(path) in error.message
    assert "disk is full" in error.message
    assert f"Free space in {path.parent}" in error.message
    consumer = log.consumer(TOPIC, "g")
    assert [record.offset for record in consumer.poll(100_000)] == list(range(num_acknowledged))
    consumer.close()
    make_space()
    assert log.append(TOPIC, b"k", [event(1)]) == [num_acknowledged]
    assert log.read(TOPIC, num_acknowledged, 10)[0].event() == event(1)


def test_a_file_that_may_not_grow_refuses_whole_appends_and_heals(tmp_path):
    path = tmp_path / "events.db"
    log = SqliteEventLog(path)
    log._writer.execute("PRAGMA max_page_count=60")
    assert_full_and_then_healed(log, path, lambda: log._writer.execute("PRAGMA max_page_count=1000000"))
    log.close()


def test_threads_that_wait_together_are_all_refused(tmp_path):
    log = SqliteEventLog(tmp_path / "events.db")
    log._writer.execute("PRAGMA max_page_count=60")
    num_acknowledged, _ = append_until_full(log)
    errors = []

    def append():
        with pytest.raises(UnavailableError, match="disk is full") as refused:
            log.write(TOPIC, [Message(key=b"k", value=VALUE * 50)])
        errors.append(refused.value)

    threads = [threading.Thread(target=append) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, errors))) == 6
    assert log.end_offsets(TOPIC) == {0: num_acknowledged}
    log.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    mount = shutil.which("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_file_system_that_is_full_refuses_whole_appends_and_heals(small_disk):
    path = small_disk / "events.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(os.urandom(700_000))
    log = SqliteEventLog(path)
    assert_full_and_then_healed(log, path, ballast.unlink)
    log.close()


def test_a_log_that_is_opened_on_a_full_file_system_says_what_to_do(small_disk):
    path = small_disk / "events.db"
    log = SqliteEventLog(path)
    log.append(TOPIC, b"k", [event(1)])
    log.close()
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(UnavailableError, match="disk is full"):
        SqliteEventLog(path)
    ballast.unlink()
    log = SqliteEventLog(path)
    assert [event(1)] == [record.event() for record in log.read(TOPIC, 0, 10)]
    log.close()
