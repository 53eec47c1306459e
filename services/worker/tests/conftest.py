# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Engines with real child processes, around a stub classifier or small real models."""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dragoman_common.channel import connect
from dragoman_common.clock import SystemClock
from dragoman_common.server import Service
from dragoman_common.testing import Running, running
from dragoman_worker.admission import AdmissionLimits
from dragoman_worker.alias_book import AliasBook
from dragoman_worker.alias_follower import AliasFollower
from dragoman_worker.alias_memory import AliasMemory
from dragoman_worker.batcher import BatchLimits
from dragoman_worker.cache import Cache
from dragoman_worker.engine import Engine, EngineLimits
from dragoman_worker.followed_models import FollowedModels
from dragoman_worker.held_version import HeldVersion
from dragoman_worker.loader import Loader
from dragoman_worker.placement import Placement, PlacementLimits
from dragoman_worker.ports import ModelFiles
from dragoman_worker.process_launcher import ProcessLauncher, child_environment
from dragoman_worker.process_runner import ProcessRunner
from dragoman_worker.starter import StarterLimits, VersionStarter

STUB = Path(__file__).parent / "stub_model_process.py"


def _sibling(name: str):
    """A helper module beside this file: test modules of several services share names, so none is on the path."""
    spec = importlib.util.spec_from_file_location(f"worker_tests_{name}", Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worlds = _sibling("world")
registry_stub = _sibling("registry_stub")


class RecordingLauncher(ProcessLauncher):
    """Keeps the runners that it started, so that a test can send them signals."""

    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        self.runners: list[ProcessRunner] = []

    async def launch(self, files):
        runner = await super().launch(files)
        self.runners.append(runner)
        return runner

    @property
    def pid(self) -> int:
        return self.runners[-1].pid


def engine_limits(**changes) -> EngineLimits:
    batch = {"max_batch_size": 8, "max_batch_tokens": 4096, "max_wait_ms": 5, "min_remaining_ms": 1}
    admission = {"max_waiting_requests": 4000, "max_waiting_tokens": 400_000, "max_tenant_share": 1.0}
    rest = {"max_batch_ms": 20_000, "max_restart_delay_ms": 500}
    return EngineLimits(
        batch=BatchLimits(**{key: changes.get(key, value) for key, value in batch.items()}),
        admission=AdmissionLimits(**{key: changes.get(key, value) for key, value in admission.items()}),
        **{key: changes.get(key, value) for key, value in rest.items()},
    )


@pytest.fixture
def launcher() -> RecordingLauncher:
    return RecordingLauncher(
        environment=child_environment(os.environ, 1),
        num_threads=1,
        load_timeout_s=60,
        command=(sys.executable, str(STUB)),
        fork_server_command=(sys.executable, str(STUB), "fork-server"),
    )


@pytest.fixture
async def make_engine(launcher, tmp_path) -> AsyncIterator[Callable[..., Awaitable[Engine]]]:
    engines: list[Engine] = []

    async def make(
        *, start: bool = True, digest: str = "", on_change: Callable[[], None] = lambda: None, **changes
    ) -> Engine:
        async def files() -> ModelFiles:
            return ModelFiles(folder=tmp_path, sha256_by_path={"model.json": digest})

        engine = Engine(
            "local/stub/1", launcher=launcher, files=files, limits=engine_limits(**changes), on_change=on_change
        )
        engines.append(engine)
        if start:
            await engine.start()
        return engine

    yield make
    await asyncio.gather(*(engine.close() for engine in engines))


@pytest.fixture
def world():
    return worlds.World()


@pytest.fixture
def stub(world):
    return registry_stub.RegistryStub(world.registry)


@pytest.fixture
async def registry_server(stub) -> AsyncIterator[Running]:
    service = Service(register=registry_stub.registry_pb2_grpc.add_RegistryServiceServicer_to_server, servicer=stub)
    async with running([service], registry_stub.POLICY, name="registry") as server:
        yield server


@pytest.fixture
def linear_package():
    return worlds.linear_package


@pytest.fixture
def package():
    return worlds.package


class Follower:
    """A placement that follows the world, and the launcher whose processes it started."""

    def __init__(self, placement: Placement, launcher: RecordingLauncher, cache_folder: Path) -> None:
        self.placement = placement
        self.launcher = launcher
        self.cache_folder = cache_folder

    async def until(self, predicate: Callable[[], bool], *, within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while not predicate():
                changed = self.placement.changed()
                if not predicate():
                    await changed.wait()

    def states(self, tenant: str | None = None) -> dict[int, str]:
        return {held.ref.number: held.state.value for held in self.placement.held(tenant)}

    def held(self, number: int, *, tenant: str = "local") -> HeldVersion:
        return next(one for one in self.placement.held(tenant) if one.ref.number == number)

    async def until_states(self, expected: dict[int, str]) -> None:
        await self.until(lambda: self.states() == expected)


@pytest.fixture
async def follow(world, tmp_path) -> AsyncIterator[Callable[..., Awaitable[Follower]]]:
    started: list[tuple[Placement, asyncio.Task, Cache]] = []

    async def start(**changes) -> Follower:
        launcher = RecordingLauncher(environment=child_environment(os.environ, 1), num_threads=1, load_timeout_s=60)
        cache_folder = tmp_path / "cache"
        cache = Cache(cache_folder, max_bytes=changes.pop("max_cache_bytes", 1 << 30))
        linger_ms = changes.pop("linger_ms", 0)
        models = changes.pop("models", ("*",))
        starter_limits = StarterLimits(
            max_loaded_versions=changes.pop("max_loaded_versions", 8),
            max_concurrent_loads=changes.pop("max_concurrent_loads", 2),
        )
        placement = Placement(
            follower=AliasFollower(
                world.registry,
                AliasBook(world.registry, world.keys, SystemClock()),
                AliasMemory(cache_folder, world.keys),
                FollowedModels(models),
            ),
            starter=VersionStarter(
                registry=world.registry,
                keys=world.keys,
                loader=Loader(world.registry, cache),
                make_engine=lambda name, files, on_change: Engine(
                    name, launcher=launcher, files=files, limits=engine_limits(**changes), on_change=on_change
                ),
                limits=starter_limits,
            ),
            clock=SystemClock(),
            limits=PlacementLimits(linger_ms=linger_ms, first_retry_ms=20, max_retry_ms=100),
        )
        started.append((placement, asyncio.create_task(placement.follow()), cache))
        return Follower(placement, launcher, cache_folder)

    yield start
    for placement, task, cache in started:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await placement.close()
        cache.close()


@pytest.fixture
async def start_worker(world, registry_server, tmp_path) -> AsyncIterator[Callable[..., Awaitable]]:
    """Starts the worker as a process; returns it and a channel to it as the gateway. Its log is worker.log."""
    keys = registry_server.keys
    (tmp_path / "keys").mkdir()
    keys.key("worker").save(tmp_path / "keys")
    keys.trust.save(tmp_path / "trust.json")
    world.key.save(tmp_path / "signing.pem", tmp_path / "signing.pub.pem")
    async with AsyncExitStack() as stack:

        async def end(process) -> None:
            if process.returncode is None:
                process.kill()
            await process.wait()

        async def start(**changes):
            settings = {
                "KEY_FILE": tmp_path / "keys" / "worker.pem",
                "TRUST_FILE": tmp_path / "trust.json",
                "READY_FILE": tmp_path / "ready.json",
                "REGISTRY_TARGET": registry_server.target,
                "CACHE_FOLDER": tmp_path / "cache",
                "REGISTRY_KEYS_FILE": tmp_path / "signing.pub.pem",
                "NUM_THREADS": 1,
                "DRAIN_LINGER_MS": 50,
                "HEARTBEAT_PERIOD_MS": 50,
            } | changes
            environment = os.environ | {f"DRAGOMAN_WORKER_{name}": str(value) for name, value in settings.items()}
            with (tmp_path / "worker.log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "dragoman_worker", env=environment, stderr=log
                )
            stack.push_async_callback(end, process)
            ready = tmp_path / "ready.json"
            async with asyncio.timeout(30):
                while not ready.exists():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            target = f"127.0.0.1:{json.loads(ready.read_text())['port']}"
            channel = connect(target, audience="worker", tokens=keys.tokens("gateway"))
            return process, await stack.enter_async_context(channel)

        yield start
