# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A full disk under the books: the reader says so, waits, and goes on by itself; nothing is half-written."""

import asyncio
import json
import os
import shutil
import subprocess
import sys

import pytest
from sqlalchemy import event

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc as pb_grpc
from dragoman_common.channel import connect
from dragoman_common.errors import UnavailableError
from dragoman_common.testing import TestKeys
from dragoman_events.memory import MemoryEventLog
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.contracts import RULES, batch, prediction
from dragoman_monitor.settings import PREFIX
from dragoman_monitor.sql import SqlMonitorStore
from dragoman_monitor.sqlite import sqlite_database

NUM_ROWS = 2_000
LIMIT_S = 60
POLL_S = 0.01


@pytest.fixture
def full(tmp_path):
    """Books that may take a few pages more."""
    store = SqlMonitorStore(sqlite_database(tmp_path / "monitor.db"), RULES)
    limit_pages(store, page_count(store) + 20)
    yield store
    store.close()


def page_count(store):
    with store._database.reading() as connection:
        return connection.exec_driver_sql("PRAGMA page_count").scalar()


def limit_pages(store, count):
    """For every transaction from now on: the limit is a connection's own."""
    event.listen(
        store._database.engine, "begin", lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={count}")
    )


class Waiting:
    """A stop whose waits take no time and make space at the third."""

    def __init__(self, is_set, make_space):
        self.is_set = is_set
        self._make_space = make_space
        self.num_waits = 0

    def wait(self, _):
        self.num_waits += 1
        if self.num_waits == 3:
            self._make_space()


def test_a_reader_waits_for_space_and_counts_every_row_once(world, full, caplog):
    log = MemoryEventLog()
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in range(NUM_ROWS)])
    log.write(FEEDBACK, [world.message(world.feedback(n)) for n in range(NUM_ROWS)])
    stop = Waiting(
        lambda: full.offsets(PREDICTIONS) == log.end_offsets(PREDICTIONS),
        lambda: limit_pages(full, 1_000_000),
    )
    world.reader(PREDICTIONS, log, full).run(stop)
    assert stop.num_waits == 3
    assert "disk is full" in caplog.text
    world.drain(log, full)
    assert world.books(full) == world.books(world.recount(log))


def test_a_batch_that_does_not_fit_leaves_nothing_and_names_the_file(full, tmp_path):
    large = batch(*(prediction(f"{n:0200d}") for n in range(NUM_ROWS)))
    with pytest.raises(UnavailableError, match=r"monitor\.db cannot be written: its disk is full") as refused:
        full.apply(large)
    assert str(tmp_path) in refused.value.message
    assert full.offsets(large.topic) == {}
    assert full.tallies() == {}
    limit_pages(full, 1_000_000)
    full.apply(large)
    assert full.offsets(large.topic) == {0: NUM_ROWS}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_process_on_a_full_disk_answers_reports_and_goes_on_without_a_restart(world, tmp_path, small_disk):
    keys = TestKeys()
    keys.key("monitor").save(tmp_path)
    keys.trust.save(tmp_path / "trust.json")
    values = {
        "KEY_FILE": tmp_path / "monitor.pem",
        "TRUST_FILE": tmp_path / "trust.json",
        "READY_FILE": tmp_path / "ready.json",
        "EVENTS_URL": f"sqlite://{tmp_path}/events.db",
        "STATE_URL": f"sqlite://{small_disk}/monitor.db",
        "ROW_DAYS": 36_500,
    }
    log = SqliteEventLog(tmp_path / "events.db")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "dragoman_monitor",
        env=os.environ | {PREFIX + name: str(value) for name, value in values.items()},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            while not (tmp_path / "ready.json").exists():
                assert process.returncode is None
                await asyncio.sleep(POLL_S)
            port = json.loads((tmp_path / "ready.json").read_text())["port"]
            ballast = small_disk / "ballast"
            with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in range(NUM_ROWS)])
            # Said by the reader of the topic, which waits.
            while b"disk is full" not in await process.stderr.readline():
                assert process.returncode is None
            async with connect(
                f"127.0.0.1:{port}", audience="monitor", tokens=keys.tokens("operator", tenant="acme")
            ) as channel:
                stub = pb_grpc.MonitorServiceStub(channel)
                answer = await stub.GetReport(pb.GetReportRequest(model="r8"))
                assert answer.freshness.predictions_lag > 0
                ballast.unlink()
                while answer.freshness.predictions_lag:
                    answer = await stub.GetReport(pb.GetReportRequest(model="r8"))
                    await asyncio.sleep(POLL_S)
        assert sum(version.total.num_predictions for version in answer.versions) == NUM_ROWS
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        log.close()
