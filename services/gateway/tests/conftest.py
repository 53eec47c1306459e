# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One tenant, one model with three labels, and the pipeline over fakes; each test takes what it needs."""

import importlib.util
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dragoman_common.testing import FakeClock
from dragoman_gateway.admission import ServiceTimes
from dragoman_gateway.aliases import AliasTable, AliasTarget
from dragoman_gateway.dispatch import Dispatcher
from dragoman_gateway.held import HeldCalls
from dragoman_gateway.limits import Limits
from dragoman_gateway.memory import MemoryCatalogue, MemoryHistory, MemoryJournal, MemoryScorer, MemoryTokenizer
from dragoman_gateway.models import ModelDirectory
from dragoman_gateway.pipeline import Call, Pipeline
from dragoman_gateway.policy import Principal
from dragoman_gateway.recent import RecentCalls
from dragoman_gateway.retry_budget import RetryBudget
from dragoman_gateway.route import Router
from dragoman_gateway.routing_counts import RoutingCounts
from dragoman_gateway.selector import parse_selector
from dragoman_gateway.targets import PoolModels, WorkerTarget, parse_worker_targets
from dragoman_gateway.version import ServedVersion, VersionKey
from dragoman_gateway.withdrawals import Withdrawals
from dragoman_gateway.workers import WorkerReport, WorkerTable

LABELS = ("acq", "earn", "grain")


def key(number=1, *, tenant="local", model="r8", digest=None):
    return VersionKey(tenant=tenant, model=model, number=number, root_sha256=digest or f"{number:x}" * 64)


def served(version_key):
    return ServedVersion(
        key=version_key,
        task="text-classification",
        architecture="linear",
        labels=LABELS,
        max_text_bytes=1_000,
        max_tokens=128,
    )


def target(version_key, *, alias="prod", sequence=1, payload=None, previous=""):
    return AliasTarget(
        alias=alias,
        sequence=sequence,
        stable=version_key,
        move_time=datetime(2026, 1, 1, tzinfo=UTC),
        payload_sha256=payload or f"payload-{sequence}",
        previous_sha256=previous,
    )


class FakeBudget:
    """A deadline that the test spends."""

    def __init__(self):
        self.left_s = 30.0
        self.stages = []

    def remaining_s(self):
        return self.left_s

    def check(self, stage):
        from dragoman_common.errors import DeadlineExceededError

        self.stages.append(stage)
        if self.left_s <= 0:
            raise DeadlineExceededError(f"before {stage}")


@dataclass
class World:
    """The gateway's domain with every port in memory."""

    limits: Limits = field(default_factory=Limits)
    clock: FakeClock = field(default_factory=FakeClock)
    budget: FakeBudget = field(default_factory=FakeBudget)
    withdrawals: Withdrawals = field(default_factory=Withdrawals)
    history: MemoryHistory = field(default_factory=MemoryHistory)
    tokenizer: MemoryTokenizer = field(default_factory=MemoryTokenizer)
    scorer: MemoryScorer = field(default_factory=lambda: MemoryScorer(len(LABELS)))
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    recent: RecentCalls = field(default_factory=lambda: RecentCalls(max_calls=3))
    aliases: AliasTable = field(default_factory=AliasTable)
    retries: RetryBudget = field(default_factory=RetryBudget)
    service_times: ServiceTimes = field(default_factory=ServiceTimes)
    counts: RoutingCounts = field(default_factory=RoutingCounts)
    targets: tuple[WorkerTarget, ...] = parse_worker_targets(["workers:1", "other=others:1"])
    has_autoscaler: bool = False
    max_held_calls: int = 4

    def __post_init__(self):
        self.workers = WorkerTable(random.Random(7), self.clock)
        pools = tuple(target.pool for target in self.targets)
        self.held = HeldCalls(pools, self.clock, max_calls=self.max_held_calls)
        self.catalogue = MemoryCatalogue(withdrawals=self.withdrawals)
        self.router = Router(
            self.aliases,
            self.workers,
            self.catalogue,
            self.history,
            withdrawals=self.withdrawals,
            clock=self.clock,
            pools=PoolModels(self.targets),
            held=self.held,
            max_hold_s=10.0,
            choice=random.Random(7),
            has_autoscaler=self.has_autoscaler,
        )
        self.models = ModelDirectory(self.router, self.catalogue, self.limits)
        self.pipeline = Pipeline(
            router=self.router,
            tokenizer=self.tokenizer,
            dispatcher=Dispatcher(
                self.router,
                self.workers,
                self.scorer,
                self.budget,
                clock=self.clock,
                retries=self.retries,
                service_times=self.service_times,
                choice=random.Random(7),
                counts=self.counts,
            ),
            journal=self.journal,
            recent=self.recent,
            limits=self.limits,
            budget=self.budget,
            clock=self.clock,
            code_name=lambda error: type(error).__name__,
            max_concurrent_calls=4,
        )

    def publish(self, version_key, *, alias="prod", sequence=1, ready_at=("worker-a",)):
        self.catalogue.add(served(version_key))
        self.router.apply(target(version_key, alias=alias, sequence=sequence, previous=f"payload-{sequence - 1}"))
        for address in ready_at:
            self.report(address, {version_key: "READY"})

    def report(self, address, states, **load):
        self.workers.update(address, WorkerReport(states=states, **load))

    def call(self, *texts, model="r8", version=None, principal=None):
        return Call(
            principal=principal or Principal(tenant="local", subject="ann"),
            selector=parse_selector(model, version),
            texts=texts,
            field="texts",
        )


@pytest.fixture
def world():
    made = World()
    made.publish(key())
    made.router.is_complete = True
    return made


@pytest.fixture
def make():
    """The builders of this file, for tests that need more than one of a kind."""

    class Make:
        key = staticmethod(key)
        served = staticmethod(served)
        target = staticmethod(target)
        world = World
        labels = LABELS

    return Make


def _module(name):
    spec = importlib.util.spec_from_file_location(f"gateway_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake_platform():
    """The module beside this one: servers that stand in for registry, tokenizer and worker."""
    return _module("fake_platform")


@pytest.fixture(scope="session")
def many_workers():
    """The module beside this one: workers on one port of several addresses, and a name that a test resolves."""
    return _module("many_workers")


@pytest.fixture
async def scene(many_workers, fake_platform, running_gateway):
    """A fleet that follows a name, and as many fake workers behind it as the test adds."""
    made = _module("fleet_scene").scene_running(many_workers, fake_platform, running_gateway.eventually)
    async with made as scene:
        yield scene


@pytest.fixture(scope="session")
def running_gateway():
    """The module beside this one: the wired gateway and a client of it."""
    return _module("running_gateway")


@pytest.fixture
async def platform(fake_platform, tmp_path):
    """Registry, tokenizer and worker, with version 1 of r8 in production."""
    async with fake_platform.platform_running(tmp_path) as made:
        made.publish(1)
        yield made


@pytest.fixture
async def gateway(platform, running_gateway):
    """The wired gateway over that platform."""
    async with running_gateway.gateway_running(platform) as made:
        yield made
