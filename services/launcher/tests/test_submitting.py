# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Submitting: one request id is one job, whoever races and whatever breaks."""

import asyncio

import pytest

from dragoman_common.errors import AlreadyExistsError, InvalidArgumentError, OverloadedError, UnavailableError
from dragoman_launcher.contracts import NOW
from dragoman_launcher.job import JobState, Publication
from dragoman_launcher.memory import MemoryJobStore
from dragoman_launcher.outcome import Outcome

LOST = Outcome(result=None, exit="exit code 3", log_tail="Traceback\nMemoryError")
VERSION = Publication(version=4, root_sha256="b" * 64)


async def test_sixteen_racers_with_one_request_id_make_one_job(launch):
    launcher = await launch()

    answers = await asyncio.gather(*(launcher.submit("same") for _ in range(16)))

    assert [created for _, created in answers].count(True) == 1
    assert len({job.id for job, _ in answers}) == 1
    assert launcher.checker.num_checks == 1
    assert len(await launcher.store.load_all()) == 1


async def test_racing_launchers_on_one_store_make_one_job(launch):
    first = await launch()
    second = await launch(store=first.store, runner=first.runner)

    answers = await asyncio.gather(*(launcher.submit("same") for launcher in (first, second) for _ in range(8)))

    assert [created for _, created in answers].count(True) == 1
    assert len(first.runner.started) <= 1


async def test_the_same_request_id_returns_the_job_also_after_it_failed_and_after_a_restart(launch):
    first = await launch()
    job, _ = await first.submit("same")
    await first.catalogue.change(job.id, lambda job: job.fail(NOW, "boom"))

    second = await launch(store=first.store)
    again, created = await second.submit("same")

    assert not created
    assert again.state is JobState.FAILED
    assert again.message == "boom"


@pytest.mark.parametrize("full", [{"max_pending": 0}, {"max_jobs": 0}])
async def test_a_request_that_another_launcher_took_is_answered_by_one_that_has_no_room(launch, full):
    other = await launch()
    here = await launch(store=other.store, runner=other.runner, **full)
    await here.supervisor.step_down()
    job, _ = await other.submit("same")

    again, created = await here.submit("same")

    assert (again.id, created) == (job.id, False)
    with pytest.raises(OverloadedError):
        await here.submit("new")
    assert here.checker.num_checks == 0


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model": "bbc"}, "another model"),
        ({"recipe": "not even a recipe"}, "another recipe"),
        ({"overrides": {"seed": "2"}}, "another overrides"),
    ],
)
async def test_a_request_id_is_not_used_for_two_different_jobs(launch, changed, named):
    first = await launch()
    job, _ = await first.submit("same")
    second = await launch(store=first.store)

    for launcher in (first, second):
        with pytest.raises(AlreadyExistsError, match=f"request_id 'same' made job {job.id} before, with {named}"):
            await launcher.submit("same", **changed)

    assert len(await first.store.load_all()) == 1


async def test_racing_launchers_never_answer_with_another_requests_job(launch):
    first = await launch()
    second = await launch(store=first.store, runner=first.runner)

    answers = await asyncio.gather(
        first.submit("same", model="r8"), second.submit("same", model="bbc"), return_exceptions=True
    )

    assert sorted(type(answer).__name__ for answer in answers) == ["RequestIdTakenError", "tuple"]


async def test_too_many_waiting_jobs_are_refused_and_nothing_is_kept_of_them(launch, eventually):
    launcher = await launch(max_pending=2)
    job, _ = await launcher.submit("r0")
    await launcher.running(job)
    await launcher.submit("r1")
    await launcher.submit("r2")

    with pytest.raises(OverloadedError, match="max_pending") as refusal:
        await launcher.submit("r3")

    assert refusal.value.retry_after_s
    assert len(await launcher.store.load_all()) == 3
    assert not (await launcher.submit("r2"))[1]


async def test_a_limit_on_kept_jobs_is_said_by_name(launch):
    launcher = await launch(max_jobs=1)
    await launcher.submit("r0")

    with pytest.raises(OverloadedError, match="max_jobs"):
        await launcher.submit("r1")


async def test_a_refused_recipe_makes_no_job_and_frees_its_place(launch):
    launcher = await launch(max_pending=1)
    for _ in range(3):
        with pytest.raises(InvalidArgumentError, match="refuse me"):
            await launcher.submit(recipe="data: {name: r8}\nx: refuse me\n")

    assert (await launcher.submit())[1]


async def test_a_caller_that_goes_away_while_its_job_is_written_leaves_a_job_that_runs(launch, eventually):
    class SlowStore(MemoryJobStore):
        def __init__(self):
            super().__init__()
            self.writing, self.go = asyncio.Event(), asyncio.Event()

        async def create(self, spec):
            self.writing.set()
            await self.go.wait()
            return await super().create(spec)

    store = SlowStore()
    launcher = await launch(store=store)
    caller = asyncio.create_task(launcher.submit())
    await store.writing.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    store.go.set()

    await eventually(lambda: launcher.runner.started, "the job runs")


async def test_a_record_written_by_a_call_that_failed_runs_when_the_call_is_repeated(launch, eventually):
    class AmbiguousStore(MemoryJobStore):
        async def create(self, spec):
            if await super().create(spec):
                raise UnavailableError("the folder cannot be synced")
            return False

    launcher = await launch(store=AmbiguousStore())
    with pytest.raises(UnavailableError):
        await launcher.submit()

    job, created = await launcher.submit()

    assert not created
    await launcher.running(job)


async def test_a_change_written_by_an_append_that_failed_is_not_written_twice(launch, eventually):
    class AmbiguousStore(MemoryJobStore):
        def __init__(self):
            super().__init__()
            self.has_failed = False

        async def append(self, job):
            await super().append(job)
            if not self.has_failed:
                self.has_failed = True
                raise UnavailableError("the folder cannot be synced")

    launcher = await launch(store=AmbiguousStore())
    job, _ = await launcher.submit()
    await eventually(lambda: launcher.runner.started, "the job runs")
    launcher.runner.succeed(job.id)

    ended = await launcher.ended(job)

    assert (ended.state, ended.sequence) == (JobState.SUCCEEDED, 2)
    assert await launcher.store.load(job.id) == ended


async def test_a_job_keeps_the_digest_that_its_data_sets_name_meant_when_it_was_submitted(launch):
    launcher = await launch()
    launcher.data_sets.digests["acme", "news"] = ["a" * 64]
    recipe = "data: {name: store:news}\n"

    job, _ = await launcher.submit("one", recipe=recipe)
    launcher.data_sets.digests["acme", "news"].append("b" * 64)
    again, created = await launcher.submit("one", recipe=recipe)
    later, _ = await launcher.submit("two", recipe=recipe)

    assert (again.id, created) == (job.id, False)
    assert "a" * 64 in job.spec.effective_recipe
    assert "b" * 64 in later.spec.effective_recipe
    assert job.spec.recipe == recipe


async def test_a_data_set_that_the_tenant_has_not_put_is_refused_before_there_is_a_job(launch):
    launcher = await launch()
    launcher.data_sets.digests["bolt", "news"] = ["a" * 64]

    with pytest.raises(InvalidArgumentError, match=r"data\.name: there is no data set news"):
        await launcher.submit("one", recipe="data: {name: store:news}\n")
    with pytest.raises(InvalidArgumentError, match=r"data\.name"):
        await launcher.submit("two", tenant="bolt", recipe=f"data: {{name: 'store:news@{'c' * 64}'}}\n")

    assert await launcher.store.load_all() == []
