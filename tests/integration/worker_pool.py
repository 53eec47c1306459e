# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Several real workers of an installation behind one name, a gateway that finds them by it, and load on it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman_client.async_client import AsyncClient
from dragoman_client.local.home import Home
from dragoman_client.local.ports import FixedPorts
from dragoman_client.local.services import platform_services
from dragoman_common.channel import connect
from dragoman_common.errors import DragomanError
from dragoman_common.service_keys import KeyTokens
from tests.integration.installation import Installation, free_port, until
from tests.integration.named_gateway import NAME
from xds.service.orca.v3 import orca_pb2, orca_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]


class WorkerPool:
    """Worker n listens on 127.0.0.n, all on one port. Processes are ended by `close`."""

    def __init__(self, installation: Installation, folder: Path, *, models: str) -> None:
        self._installation = installation
        self._folder = folder
        self._models = models
        self._names = folder / "names"
        self._port = free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._metrics_port = 0
        self.target = ""
        self.say()

    def address(self, number: int) -> str:
        return f"127.0.0.{number}"

    def say(self, *numbers: int) -> None:
        """From now on the name has the addresses of these workers."""
        written = self._names.with_suffix(".new")
        written.write_text("\n".join(self.address(number) for number in numbers))
        written.replace(self._names)

    def lose_names(self) -> None:
        """The name service is away until something is said again."""
        self._names.unlink()

    def start_worker(self, number: int, **settings: str) -> None:
        """Start one; whether it is ready is for others to see."""
        self._start(
            f"worker-{number}",
            ["dragoman_worker"],
            self._environment("worker")
            | {
                "DRAGOMAN_WORKER_LISTEN": f"{self.address(number)}:{self._port}",
                "DRAGOMAN_WORKER_CACHE_FOLDER": str(self._folder / "cache"),
                "DRAGOMAN_WORKER_MODELS": self._models,
            }
            | {f"DRAGOMAN_WORKER_{name}": value for name, value in settings.items()},
        )

    def start_gateway(self, **settings: str) -> None:
        """Start the gateway and wait for its port."""
        ready = self._folder / "gateway.ready"
        changes = {
            "LISTEN": "127.0.0.1:0",
            "HTTP_LISTEN": "127.0.0.1:0",
            "READY_FILE": str(ready),
            "WORKER_TARGETS": f"{NAME}:{self._port}",
            "EVENTS_URL": f"sqlite://{self._folder}/events.db",
            "SPOOL_FOLDER": str(self._folder / "spool"),
        } | settings
        environment = self._environment("gateway")
        environment |= {f"DRAGOMAN_GATEWAY_{name}": value for name, value in changes.items()}
        self._start("gateway", ["tests.integration.named_gateway", str(self._names)], environment)
        until(ready.exists, timeout_s=60)
        self.target = f"127.0.0.1:{json.loads(ready.read_text())['port']}"

    def start_autoscaler(self) -> str:
        """Start one that follows the pool, and wait for its port; gives its address."""
        ready = self._folder / "autoscaler.ready"
        self._metrics_port = free_port()
        keys = self._installation.home / "keys"
        settings = {
            "LISTEN": "127.0.0.1:0",
            "READY_FILE": str(ready),
            "KEY_FILE": str(keys / "autoscaler.pem"),
            "TRUST_FILE": str(keys / "trust.json"),
            "METRICS_LISTEN": f"127.0.0.1:{self._metrics_port}",
            "POOLS": f"default={self.address(1)}:{self._port}",
        }
        environment = {f"DRAGOMAN_AUTOSCALER_{name}": value for name, value in settings.items()}
        self._start("autoscaler", ["dragoman_autoscaler"], environment)
        until(ready.exists, timeout_s=60)
        return f"127.0.0.1:{json.loads(ready.read_text())['port']}"

    def held_calls(self) -> int:
        """How many calls the autoscaler says are held."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith("dragoman_autoscaler_held_calls{"))

    def signal(self, number: int, what: signal.Signals) -> None:
        """Send a signal to a worker's front; its model processes go when it has gone."""
        self._processes[f"worker-{number}"].send_signal(what)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def close(self) -> None:
        """End all processes."""
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self._processes.values():
            process.wait(timeout=30)

    @asynccontextmanager
    async def channel(self, number: int):
        """From the gateway's identity to one worker."""
        tokens = KeyTokens(self._installation.key("gateway"))
        async with connect(f"{self.address(number)}:{self._port}", audience="worker", tokens=tokens) as made:
            yield made

    async def until_ready(self, number: int, *, timeout_s: float = 60) -> None:
        """Return at the worker's first report that it is ready for something."""
        async with asyncio.timeout(timeout_s), self.channel(number) as channel:
            while True:
                call = worker_pb2_grpc.WorkerServiceStub(channel).WatchLoaded(
                    worker_pb2.WatchLoadedRequest(), timeout=timeout_s, wait_for_ready=True
                )
                async for message in call:
                    if any(version.state == worker_pb2.LOAD_STATE_READY for version in message.versions):
                        return

    async def until_used(self, number: int, *, timeout_s: float) -> float:
        """Seconds until the worker has answered a call."""
        began_s = time.monotonic()
        async with asyncio.timeout(timeout_s), self.channel(number) as channel:
            request = orca_pb2.OrcaLoadReportRequest()
            request.report_interval.FromMilliseconds(100)
            async for report in orca_pb2_grpc.OpenRcaServiceStub(channel).StreamCoreMetrics(request, timeout=timeout_s):
                if report.rps_fractional > 0 or report.named_metrics["pending_tokens"] > 0:
                    return time.monotonic() - began_s
        raise TimeoutError("the reports ended")

    def _environment(self, name: str) -> Mapping[str, str]:
        ports = {str(service["name"]): int(service["port"]) for service in self._installation.status()["services"]}
        home, fixed = Home(self._installation.home), FixedPorts(grpc=0, http=0)
        (spec,) = (spec for spec in platform_services(home, fixed, {}) if spec.name == name)
        return spec.environment(ports)

    def _start(self, name: str, module: list[str], environment: Mapping[str, str]) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("DRAGOMAN_")}
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *module],
                env=environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | environment,
                stdout=log,
                stderr=log,
            )


@dataclass
class Load:
    """What callers saw: (begun at, took) of each answer, and every failure."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def slowest_s(self, *, begun_after_s: float, before_s: float = float("inf")) -> float:
        return max(took_s for at_s, took_s in self.answers if begun_after_s <= at_s < before_s)


@asynccontextmanager
async def load_on(target: str, token: str, model: str, *, num_callers: int, timeout_s: float = 15):
    """Callers that ask again as soon as they are answered, until the block ends."""
    seen = Load()
    stopped = asyncio.Event()

    async def caller(client: AsyncClient, number: int) -> None:
        while not stopped.is_set():
            began_s = time.monotonic()
            try:
                await client.classify(model, [f"grain{number} wheat corn"], timeout_s=timeout_s)
            except DragomanError as error:
                seen.failures.append(f"{type(error).__name__}: {error.message}")
            else:
                seen.answers.append((began_s, time.monotonic() - began_s))

    async with AsyncClient(target, token) as client, asyncio.TaskGroup() as group:
        for number in range(num_callers):
            group.create_task(caller(client, number))
        try:
            yield seen
        finally:
            stopped.set()


@contextmanager
def pool_of(installation: Installation, folder: Path, *, models: str):
    made = WorkerPool(installation, folder, models=models)
    try:
        yield made
    finally:
        made.close()
