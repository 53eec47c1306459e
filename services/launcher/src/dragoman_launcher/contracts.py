# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What every JobStore and every JobRunner must do, as tests: subclassed on the fakes and on the real ones."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from dragoman_common.errors import AbortedError
from dragoman_launcher.job import JobSpec, Progress, Publication, TrainingJob
from dragoman_launcher.outcome import Verdict
from dragoman_launcher.ports import JobRunner, JobStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def spec(request_id: str = "r1", tenant: str = "acme", **changes: Any) -> JobSpec:
    """A valid one."""
    given = JobSpec(
        tenant=tenant,
        request_id=request_id,
        model="r8",
        recipe="data: {name: r8}\n",
        effective_recipe="data: {name: r8}\n",
        submitted_by="ana",
        create_time=NOW,
    )
    return replace(given, **changes)


class JobStoreContract:
    """Subclasses give `store`, and `reopened`: the same store as a launcher sees it after a restart."""

    @pytest.fixture
    def store(self) -> JobStore:
        raise NotImplementedError

    def reopened(self, store: JobStore) -> JobStore:
        raise NotImplementedError

    async def test_a_created_job_is_read_back_as_it_was_given(self, store: JobStore) -> None:
        given = spec(overrides={"training.epochs": "4"}, recipe="a: ä\n")

        assert await store.create(given)

        assert await self.reopened(store).load(given.id) == TrainingJob.created(given)

    async def test_exactly_one_of_sixteen_racers_creates_the_job(self, store: JobStore) -> None:
        racers = [spec(submitted_by=f"racer {number}") for number in range(16)]

        created = await asyncio.gather(*(store.create(racer) for racer in racers))

        assert created.count(True) == 1
        job = await store.load(racers[0].id)
        assert job is not None
        assert job.spec == racers[created.index(True)]

    async def test_the_same_request_id_of_another_tenant_is_another_job(self, store: JobStore) -> None:
        assert await store.create(spec(tenant="acme"))
        assert await store.create(spec(tenant="bolt"))

        assert {"acme", "bolt"} == {job.spec.tenant for job in await store.load_all()}

    async def test_a_job_that_was_never_created_is_none(self, store: JobStore) -> None:
        assert await store.load(spec().id) is None
        assert await store.load_all() == []

    async def test_changes_and_the_newest_progress_survive_a_restart(self, store: JobStore) -> None:
        job = TrainingJob.created(spec())
        await store.create(job.spec)
        job = job.start(NOW + timedelta(seconds=1))
        await store.append(job)
        for step in (1, 2):
            progress = Progress(
                stage="train", step=step, eta=timedelta(seconds=9.5), metrics={"loss": 0.5}, report_time=NOW
            )
            job = job.with_progress(progress)
            await store.keep_progress(job)
        job = job.publish(NOW, Publication(version=3, root_sha256="a" * 64))
        await store.append(job)
        job = job.request_cancel(NOW, "enough")
        await store.append(job)
        job = job.cancel(NOW, "enough")
        await store.append(job)

        assert await self.reopened(store).load(job.id) == job

    async def test_a_change_number_is_used_once(self, store: JobStore) -> None:
        job = TrainingJob.created(spec())
        await store.create(job.spec)
        await store.append(job.start(NOW))

        with pytest.raises(AbortedError):
            await store.append(job.cancel(NOW, "too late"))

        kept = await store.load(job.id)
        assert kept == job.start(NOW)

    async def test_jobs_are_listed_oldest_first(self, store: JobStore) -> None:
        for number, age_s in enumerate((20, 30, 10)):
            await store.create(spec(f"r{number}", create_time=NOW - timedelta(seconds=age_s)))

        assert [job.spec.request_id for job in await self.reopened(store).load_all()] == ["r1", "r0", "r2"]

    async def test_what_was_announced_survives_a_restart(self, store: JobStore) -> None:
        await store.create(spec())
        assert await store.announced(spec().id) == -1

        await store.announced(spec().id, 2)

        assert await self.reopened(store).announced(spec().id) == 2


class JobRunnerContract:
    """Subclasses give `runner`, and jobs of three kinds by the recipe: "succeed", "fail" and "run on".

    The first two write "hello\\n" to the log and end on their own; the last one runs until it is stopped.
    """

    deadline_s: ClassVar[float] = 20.0

    @pytest.fixture
    def runner(self) -> JobRunner:
        raise NotImplementedError

    async def started(self, runner: JobRunner, kind: str) -> TrainingJob:
        """Start a job of this kind; "run on" is known to run when this returns."""
        raise NotImplementedError

    async def test_a_job_that_succeeds_says_so(self, runner: JobRunner) -> None:
        job = await self.started(runner, "succeed")

        outcome = await self.within(runner.wait(job.id))

        assert outcome.result is not None
        assert outcome.result.verdict is Verdict.SUCCEEDED

    async def test_a_job_that_fails_leaves_its_log(self, runner: JobRunner) -> None:
        job = await self.started(runner, "fail")

        outcome = await self.within(runner.wait(job.id))

        assert outcome.result is None or outcome.result.verdict is Verdict.FAILED
        assert await runner.read_log(job.id, 0, 100) == b"hello\n"
        assert await runner.read_log(job.id, 3, 2) == b"lo"
        assert await runner.read_log(job.id, 6, 100) == b""
        assert await runner.log_bytes(job.id) == 6

    async def test_a_stopped_job_ends_without_a_result_and_stopping_again_changes_nothing(
        self, runner: JobRunner
    ) -> None:
        job = await self.started(runner, "run on")

        await self.within(runner.stop(job.id, 5))
        await self.within(runner.stop(job.id, 5))

        outcome = await self.within(runner.wait(job.id))
        assert outcome.result is None
        assert "SIGTERM" in outcome.exit
        assert outcome == await self.within(runner.wait(job.id))

    async def test_a_second_start_does_not_run_the_job_twice(self, runner: JobRunner) -> None:
        job = await self.started(runner, "succeed")
        await runner.start(job)

        await self.within(runner.wait(job.id))

        assert await runner.read_log(job.id, 0, 100) == b"hello\n"

    async def test_a_job_stopped_before_its_start_never_runs(self, runner: JobRunner) -> None:
        await self.within(runner.stop(spec("succeed").id, 0))

        job = await self.started(runner, "succeed")

        outcome = await self.within(runner.wait(job.id))
        assert outcome.result is None
        assert await runner.log_bytes(job.id) == 0

    async def test_a_job_that_was_never_started_cannot_be_adopted(self, runner: JobRunner) -> None:
        assert not await runner.adopt(spec().id)
        assert await runner.log_bytes(spec().id) == 0
        assert await runner.read_log(spec().id, 0, 100) == b""

    async def test_a_job_that_runs_or_has_ended_or_is_not_known_waits_for_nothing(self, runner: JobRunner) -> None:
        job = await self.started(runner, "run on")
        assert runner.waits_for(job.id) == ""

        await self.within(runner.stop(job.id, 5))
        await self.within(runner.wait(job.id))

        assert runner.waits_for(job.id) == ""
        assert runner.waits_for(spec("never started").id) == ""

    async def within(self, work: Awaitable[Any]) -> Any:
        """The result, or a failure when it takes too long."""
        async with asyncio.timeout(self.deadline_s):
            return await work
