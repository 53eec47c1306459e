# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor as it is run: a process with settings, a ready file, a drain at SIGTERM."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc as pb_grpc
from dragoman_common.channel import connect
from dragoman_common.settings import SettingsError, parse
from dragoman_common.testing import TestKeys
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.counts import CountingRules
from dragoman_monitor.settings import PREFIX, Settings
from dragoman_monitor.sql import SqlMonitorStore
from dragoman_monitor.sqlite import sqlite_database

START_LIMIT_S = 30
POLL_S = 0.01


@pytest.fixture
def environment(tmp_path):
    keys = TestKeys()
    keys.key("monitor").save(tmp_path)
    keys.trust.save(tmp_path / "trust.json")
    values = {
        "KEY_FILE": tmp_path / "monitor.pem",
        "TRUST_FILE": tmp_path / "trust.json",
        "READY_FILE": tmp_path / "ready.json",
        "EVENTS_URL": f"sqlite://{tmp_path}/events.db",
        "STATE_URL": f"sqlite://{tmp_path}/monitor.db",
    }
    return keys, {PREFIX + name: str(value) for name, value in values.items()}


async def test_a_process_reads_the_topics_answers_and_stops_clean(world, tmp_path, environment):
    keys, variables = environment
    # The events are of another year; their rows are to be there when the feedback comes.
    variables = variables | {PREFIX + "ROW_DAYS": "36500"}
    log = SqliteEventLog(tmp_path / "events.db")
    log.write(PREDICTIONS, [world.message(world.prediction(2 * n)) for n in range(50)])
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "dragoman_monitor", env=os.environ | variables)
    try:
        ready = tmp_path / "ready.json"
        async with asyncio.timeout(START_LIMIT_S):
            while not ready.exists():
                assert process.returncode is None
                await asyncio.sleep(POLL_S)
            target = f"127.0.0.1:{json.loads(ready.read_text())['port']}"
            # Written while the monitor waits for it.
            log.write(FEEDBACK, [world.message(world.feedback(2 * n)) for n in range(50)])
            async with connect(target, audience="monitor", tokens=keys.tokens("operator", tenant="acme")) as channel:
                stub = pb_grpc.MonitorServiceStub(channel)
                answer = pb.GetReportResponse()
                while not (answer.versions and answer.freshness == pb.ReportFreshness()):
                    answer = await stub.GetReport(pb.GetReportRequest(model="r8"))
                    await asyncio.sleep(POLL_S)
        assert answer.versions[0].total.num_predictions == 50
        assert answer.versions[0].total.num_labelled == 50 - answer.versions[0].total.num_errors
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), START_LIMIT_S) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert log.consumer(PREDICTIONS, "monitor").committed() == {0: 50}
    log.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STATE_URL", "postgresql://host/db"),
        ("WINDOW_S", "0"),
        ("COVERAGE_THRESHOLD", "1.5"),
        ("LATENCY_RELATIVE_ERROR", "0"),
        ("MAX_BATCH_RECORDS", "0"),
        ("ROW_DAYS", "0"),
        ("WAITING_FEEDBACK_DAYS", "40000"),
        ("UNKNOWN", "1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(environment, name, value):
    with pytest.raises(SettingsError, match=name.lower() if name != "UNKNOWN" else name):
        parse(Settings, environment[1] | {PREFIX + name: value}, prefix=PREFIX)


def test_an_unknown_event_log_ends_the_process(environment):
    variables = environment[1] | {PREFIX + "EVENTS_URL": "redis://broker:6379"}
    ended = subprocess.run(
        [sys.executable, "-m", "dragoman_monitor"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
        check=False,
    )
    assert ended.returncode != 0
    assert "redis" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_reader_that_cannot_go_on_ends_the_process(world, tmp_path, environment):
    # A defect in the books: nothing that waiting would heal, and nothing to be served beside.
    database = sqlite_database(tmp_path / "monitor.db")
    SqlMonitorStore(database, CountingRules())
    with database.writing() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER defect BEFORE INSERT ON predictions BEGIN SELECT RAISE(ABORT, 'planted'); END"
        )
    database.close()
    log = SqliteEventLog(tmp_path / "events.db")
    log.write(PREDICTIONS, [world.message(world.prediction(1))])
    log.close()
    ended = subprocess.run(
        [sys.executable, "-m", "dragoman_monitor"],
        env=os.environ | environment[1],
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
        check=False,
    )
    assert ended.returncode != 0
    assert "planted" in ended.stderr
