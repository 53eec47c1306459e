# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The MinIO that tests get keeps its data over a kill, listens on loopback alone, and does not outlive the run."""

import io
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.parts import hosts, minio
from tests.parts.listening import addresses

pytestmark = pytest.mark.slow

TIMEOUT_S = 30
ROOT = Path(__file__).parents[2]
RUN = """
import sys, time
from pathlib import Path
from tests.parts import minio
with minio.running(Path(sys.argv[1]), killable=True) as server:
    print(server._own().pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def server(tmp_path):
    with ExitStack() as stack:
        yield minio.required(lambda: stack.enter_context(minio.running(tmp_path / "minio", killable=True)))


def test_killed_server_keeps_address_credentials_and_data(server):
    bucket = server.make_bucket()
    server.admin().put_object(bucket, "a", io.BytesIO(b"data"), 4)
    endpoint = server.endpoint
    server.restart()
    assert server.endpoint == endpoint
    assert server.admin().get_object(bucket, "a").read() == b"data"


def test_server_ends_with_the_run_that_is_killed(tmp_path, monkeypatch):
    # A container has Docker for that.
    minio.required(minio.binary)
    environ = os.environ | {"DRAGOMAN_TEST_PARTS": "process"}
    with subprocess.Popen(
        [sys.executable, "-c", RUN, tmp_path / "minio"], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ
    ) as run:
        try:
            pid = int(run.stdout.readline())
            found = {host for host, _ in addresses(pid)}
        finally:
            run.kill()
    assert found <= {"127.0.0.1", "::1"}
    ends_s = time.monotonic() + TIMEOUT_S
    while hosts._state(pid) not in hosts.GONE and time.monotonic() < ends_s:
        threading.Event().wait(0.01)
    assert hosts._state(pid) in hosts.GONE
