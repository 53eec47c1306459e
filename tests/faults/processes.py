# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Gateways and monitors as processes of their own, over a real broker and a real Postgres; each may be killed.

A `Scene` is one platform: a prefix on the broker, a database, a spool. Its processes come and go, their state stays.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import grpc

from dragoman_common.testing import TestKeys
from dragoman_events.opening import open_log
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from services.gateway.tests import running_gateway
from tests.faults import oracle
from tests.faults.sizes import SIZES
from tests.faults.topics import Topics
from tests.parts.hosts import Process

ROOT = Path(__file__).resolve().parents[2]
# What is tested is what this run imports.
PATHS = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
START_S = 60
READ = (PREDICTIONS, FEEDBACK)


class Scene:
    """One platform's places, and how its processes are started."""

    def __init__(self, folder, broker, postgres):
        self.folder, self.broker = folder, broker
        self.prefix = f"t{secrets.token_hex(6)}."
        self.topics = Topics(broker, self.prefix)
        self.books = postgres.make_database()
        self._num_started = 0

    @contextmanager
    def gateway(self, platform, *words, point="none", nth=1, **settings):
        """A gateway over the platform's fake parts; words and points are those of failpoint_gateway.py."""
        environ = platform.environment() | {
            f"DRAGOMAN_GATEWAY_{name}": str(value)
            for name, value in (self._log() | {"SPOOL_FOLDER": self.folder / "spool"} | settings).items()
        }
        module = "services.gateway.tests.failpoint_gateway"
        ready = [self.folder / "grpc.ready", self.folder / "http.ready"]
        with self._running("gateway", [module, point, str(nth), *words], environ, ready) as process:
            yield process

    @contextmanager
    def monitor(self, *words, point="none", nth=1, **settings):
        """A monitor; words and points are those of monitor_entry.py."""
        name = f"monitor-{self._num_started}"
        keys = TestKeys()
        folder = self.folder / name
        folder.mkdir()
        keys.key("monitor").save(folder)
        keys.trust.save(folder / "trust.json")
        parts = urlsplit(self.books)
        values = self._log() | {
            "LISTEN": "127.0.0.1:0",
            "READY_FILE": folder / "ready",
            "KEY_FILE": folder / "monitor.pem",
            "TRUST_FILE": folder / "trust.json",
            "STATE_URL": f"postgresql://{parts.username}@{parts.hostname}:{parts.port}{parts.path}",
            "STATE_PASSWORD": unquote(parts.password),
            "KAFKA_SESSION_TIMEOUT_MS": SIZES.session_ms,
            "POLL_TIMEOUT_MS": 100,
        }
        environ = {f"DRAGOMAN_MONITOR_{name}": str(value) for name, value in (values | settings).items()}
        module = "tests.faults.monitor_entry"
        with self._running("monitor", [module, point, str(nth), *words], environ, [folder / "ready"]) as process:
            yield process

    def ends(self):
        """(topic, partition) -> end, of what a monitor reads."""
        return {(topic, partition): end for topic in READ for partition, end in self.topics.ends(topic).items()}

    async def until_read(self, *, limit_s=60):
        """Return when the books are at the ends of the topics.

        Raises:
            BrokenPromiseError: they are not in time.
        """
        give_up_s = time.monotonic() + limit_s
        ends = await asyncio.to_thread(self.ends)
        while True:
            try:
                await asyncio.to_thread(oracle.check_lag, self.books, ends)
            except oracle.BrokenPromiseError:
                if time.monotonic() > give_up_s:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def until_replayed(self, *, limit_s=60):
        """Return when nothing waits in the gateway's spool any more; the spool may be in use."""
        log = await asyncio.to_thread(open_log, f"sqlite://{self.folder}/spool/spool.db")

        def is_empty():
            return not any(log.read(topic, 0, 1) for topic in READ)

        try:
            await until(lambda: asyncio.to_thread(is_empty), "the spool is empty", limit_s=limit_s, pause_s=0.1)
        finally:
            log.close()

    async def check(self, calls):
        """All that the oracle knows, of this platform and these calls."""
        predictions, feedback = [await asyncio.to_thread(self.topics.read, topic) for topic in READ]
        oracle.check_waits(calls)
        oracle.check_topic(calls, predictions, feedback)
        await asyncio.to_thread(oracle.check_books, self.books, predictions, feedback)
        await asyncio.to_thread(oracle.check_lag, self.books, await asyncio.to_thread(self.ends))
        return predictions

    def _log(self):
        return {
            "EVENTS_URL": f"kafka://{self.broker.bootstrap}",
            "KAFKA_CREATE_TOPICS": "true",
            "KAFKA_REPLICATION": "1",
            "KAFKA_PREFIX": self.prefix,
        }

    @contextmanager
    def _running(self, name, arguments, environ, ready):
        self._num_started += 1
        for path in ready:
            path.unlink(missing_ok=True)
        process = Process(
            [sys.executable, "-m", *arguments],
            self.folder / f"{name}-{self._num_started}.log",
            environ={"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"} | environ,
        )
        process.ready = ready[0]
        process.start()
        try:
            yield process
        finally:
            process.kill()


async def until(probe, what, *, limit_s=START_S, process=None, pause_s=0.02):
    """Return the first true value of `probe`, which may be a coroutine function; a process that ends is an error."""
    give_up_s = time.monotonic() + limit_s
    while True:
        value = probe()
        if value := await value if asyncio.iscoroutine(value) else value:
            return value
        assert process is None or process.is_alive(), f"{what}: it ended: {process.said()[-2_000:]}"
        assert time.monotonic() < give_up_s, f"not in {limit_s} s: {what}"
        await asyncio.sleep(pause_s)


async def is_ready(process):
    """Return when the process listens."""
    await until(process.ready.exists, "the process listens", process=process)


async def target_of(process):
    """Return the address of a gateway that serves."""
    await is_ready(process)
    target = f"127.0.0.1:{json.loads(process.ready.read_text())['port']}"
    async with grpc.aio.insecure_channel(target) as channel:
        await until(lambda: running_gateway.is_serving(channel), "the gateway serves", process=process)
    return target


async def until_killed(process, *, limit_s=60):
    """Return when the process has ended by SIGKILL."""
    await until(lambda: not process.is_alive(), "the failpoint is reached", limit_s=limit_s)
    assert process._process.returncode == -signal.SIGKILL, process.said()[-2_000:]


def is_stopped(process):
    """Whether the process stands still."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
