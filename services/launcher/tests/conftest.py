# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the launcher's tests share: conditions with a deadline, and trainers of a few lines."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest

from dragoman_common.testing import FakeClock
from dragoman_launcher.announcer import Announcer
from dragoman_launcher.attendance import JobLimits
from dragoman_launcher.catalogue import JobCatalogue
from dragoman_launcher.cluster_api import ClusterApi
from dragoman_launcher.job import JobState
from dragoman_launcher.memory import (
    MemoryDataSets,
    MemoryJobEvents,
    MemoryJobRunner,
    MemoryJobStore,
    MemoryRecipeChecker,
)
from dragoman_launcher.queue import JobQueue
from dragoman_launcher.quota import Quotas
from dragoman_launcher.submission import JobSubmission
from dragoman_launcher.supervisor import JobSupervisor
from services.launcher.tests.fake_cluster import FakeCluster, serving

DEADLINE_S = 30.0


def pytest_configure(config):
    config.addinivalue_line("markers", "cluster: needs the Kubernetes cluster of DRAGOMAN_TEST_KUBECONFIG")


HEADER = """
import json, os, signal, sys, time
out = {k.removeprefix("DRAGOMAN_TRAINER_"): v for k, v in os.environ.items() if k.startswith("DRAGOMAN_TRAINER_")}
def finish(outcome, **more):
    path = out["RESULT_FILE"]
    with open(path + ".tmp", "w") as file:
        json.dump({"format": "dragoman.result/1", "outcome": outcome, **more}, file)
    os.replace(path + ".tmp", path)
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
recipe = open(out["RECIPE_FILE"]).read()
if "CHECK_ONLY" in out:
    if "forbidden_key" in recipe:
        finish("failed", message="recipe: unknown key forbidden_key; allowed are data, tokenizer")
    else:
        finish("succeeded")
    raise SystemExit(0)
"""


async def _eventually(condition: Callable[[], Any | Awaitable[Any]], what: str) -> Any:
    """Wait until `condition` gives something true, and return that."""
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        value = condition()
        if isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline_s, f"not within {DEADLINE_S:g} s: {what}"
        await asyncio.sleep(0.01)


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any], str], Awaitable[Any]]:
    return _eventually


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Make a trainer's command from the lines it runs after HEADER."""

    def make(body: str) -> tuple[str, ...]:
        script = tmp_path / f"trainer_{len(list(tmp_path.iterdir()))}.py"
        script.write_text(HEADER + body)
        return (sys.executable, "-S", str(script))

    return make


@dataclass(kw_only=True)
class Launcher:
    """A launcher's domain, wired for a test."""

    store: Any
    runner: Any
    checker: Any
    data_sets: Any
    events: Any
    clock: Any
    queue: JobQueue
    catalogue: JobCatalogue
    announcer: Announcer
    supervisor: JobSupervisor
    submission: JobSubmission
    limits: JobLimits

    async def submit(self, request_id="r1", *, tenant="acme", recipe="data: {name: r8}\n", **more):
        given = {"subject": "ana", "model": "r8", "overrides": {}} | more
        return await self.submission.submit(tenant=tenant, request_id=request_id, recipe=recipe, **given)

    async def running(self, job):
        def found():
            return self.catalogue.find(job.id).state is JobState.RUNNING and self.catalogue.find(job.id)

        return await _eventually(found, "the job runs")

    async def ended(self, job):
        async with asyncio.timeout(DEADLINE_S):
            return await self.catalogue.ended(job.id)


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Launcher]]]:
    """Make launchers; on the same store, each further one is what follows after the one before has gone."""
    data_dir = tmp_path / "data"
    (data_dir / "r8").mkdir(parents=True)
    cleanup = AsyncExitStack()

    async def make(
        *,
        store=None,
        runner=None,
        clock=None,
        max_running=1,
        max_pending=100,
        max_jobs=1000,
        quotas=(),
        gpus=0,
        **limits,
    ):
        store = store or MemoryJobStore()
        runner = runner or MemoryJobRunner()
        clock = clock or FakeClock()
        queue = JobQueue(
            max_running=max_running, max_pending=max_pending, quotas=Quotas.parse(quotas), gpus_of_a_job=gpus
        )
        catalogue = JobCatalogue(store)
        events = MemoryJobEvents()
        announcer = Announcer(catalogue, store, events)
        given = {"max_job_s": 3600, "max_log_bytes": 1 << 20, "cancel_grace_s": 5, "check_interval_s": 0.01} | limits
        job_limits = JobLimits(**given)
        supervisor = JobSupervisor(
            catalogue=catalogue, store=store, runner=runner, queue=queue, limits=job_limits, clock=clock
        )
        checker, data_sets = MemoryRecipeChecker(), MemoryDataSets()
        submission = JobSubmission(
            catalogue=catalogue,
            store=store,
            supervisor=supervisor,
            queue=queue,
            checker=checker,
            data_sets=data_sets,
            clock=clock,
            data_dir=data_dir,
            max_recipe_bytes=65536,
            max_jobs=max_jobs,
        )
        announcing = asyncio.create_task(announcer.run())
        cleanup.callback(announcing.cancel)
        cleanup.push_async_callback(supervisor.close)
        await supervisor.load()
        await supervisor.open()
        return Launcher(
            store=store,
            runner=runner,
            checker=checker,
            data_sets=data_sets,
            events=events,
            clock=clock,
            queue=queue,
            catalogue=catalogue,
            announcer=announcer,
            supervisor=supervisor,
            submission=submission,
            limits=job_limits,
        )

    yield make
    await cleanup.aclose()


@pytest.fixture
async def cluster():
    return FakeCluster()


@pytest.fixture
async def api(cluster, tmp_path):
    """The scripted cluster, over HTTP."""
    async with serving(cluster, tmp_path) as kubeconfig:
        api = await ClusterApi.open("training", kubeconfig=str(kubeconfig))
        yield api
        await api.close()
