# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Submission, queue and supervision on fakes: who starts when, what ends a job, what a restart finds."""

import asyncio

import pytest

from dragoman_common.errors import InvalidArgumentError, OverloadedError, UnavailableError
from dragoman_launcher.catalogue import JobNotFoundError
from dragoman_launcher.contracts import NOW
from dragoman_launcher.job import IllegalMoveError, JobState, Progress, Publication
from dragoman_launcher.memory import MemoryJobStore
from dragoman_launcher.outcome import JobResult, Outcome, Verdict
from dragoman_launcher.ports import JobStartError

LOST = Outcome(result=None, exit="exit code 3", log_tail="Traceback\nMemoryError")
VERSION = Publication(version=4, root_sha256="b" * 64)


async def running(launcher, eventually, job):
    return await eventually(
        lambda: (found := launcher.catalogue.find(job.id)).state is JobState.RUNNING and found, "the job runs"
    )


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
    again, created = await second.submit("same", recipe="not even a recipe")

    assert not created
    assert again.state is JobState.FAILED
    assert again.message == "boom"


async def test_jobs_start_in_order_and_no_more_at_once_than_allowed(launch, eventually):
    launcher = await launch(max_running=2)
    jobs = [(await launcher.submit(f"r{number}"))[0] for number in range(4)]
    await eventually(lambda: len(launcher.runner.started) == 2, "two jobs run")
    assert launcher.catalogue.find(jobs[2].id).state is JobState.PENDING

    launcher.runner.succeed(jobs[1].id)

    await launcher.ended(jobs[1])
    await eventually(lambda: len(launcher.runner.started) == 3, "the third job runs")
    assert launcher.runner.started == [job.id for job in jobs[:3]]


async def test_too_many_waiting_jobs_are_refused_and_nothing_is_kept_of_them(launch, eventually):
    launcher = await launch(max_pending=2)
    job, _ = await launcher.submit("r0")
    await running(launcher, eventually, job)
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
    await running(launcher, eventually, job)


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


@pytest.mark.parametrize(
    ("outcome", "state", "message"),
    [
        (
            Outcome(result=JobResult(verdict=Verdict.SUCCEEDED, publication=VERSION), exit="exit code 0"),
            "SUCCEEDED",
            "",
        ),
        (Outcome(result=JobResult(verdict=Verdict.FAILED, message="no rows"), exit="exit code 1"), "FAILED", "no rows"),
        (Outcome(result=JobResult(verdict=Verdict.CANCELLED), exit="exit code 3"), "CANCELLED", "says that it was"),
        (LOST, "FAILED", "without a result (exit code 3). Its last lines:\nTraceback\nMemoryError"),
    ],
)
async def test_the_end_of_a_process_is_the_end_of_its_job(launch, eventually, outcome, state, message):
    launcher = await launch()
    job, _ = await launcher.submit()
    await running(launcher, eventually, job)

    launcher.runner.end(job.id, outcome)

    ended = await launcher.ended(job)
    assert ended.state.value == state
    assert message in ended.message
    assert await launcher.store.load(job.id) == ended


async def test_a_job_that_cannot_be_started_fails_and_the_next_one_runs(launch, eventually):
    launcher = await launch()
    start, broken = launcher.runner.start, []

    async def start_or_not(job):
        if not broken:
            broken.append(job.id)
            raise JobStartError("no such program")
        await start(job)

    launcher.runner.start = start_or_not
    first, _ = await launcher.submit("r1")
    second, _ = await launcher.submit("r2")

    ended = await launcher.ended(first)

    assert ended.state is JobState.FAILED
    assert "no such program" in ended.message
    await running(launcher, eventually, second)


async def test_cancelling_a_waiting_job_ends_it_and_it_never_starts(launch, eventually):
    launcher = await launch()
    first, _ = await launcher.submit("r1")
    await running(launcher, eventually, first)
    second, _ = await launcher.submit("r2")

    cancelled = await launcher.supervisor.cancel("acme", second.id, "changed my mind")

    assert cancelled.state is JobState.CANCELLED
    assert cancelled.message == "changed my mind"
    launcher.runner.succeed(first.id)
    await launcher.ended(first)
    assert launcher.runner.started == [first.id]


async def test_cancelling_twice_or_after_the_end_changes_nothing(launch, eventually):
    launcher = await launch()
    job, _ = await launcher.submit()
    await running(launcher, eventually, job)

    asked = await launcher.supervisor.cancel("acme", job.id, "first")
    await launcher.supervisor.cancel("acme", job.id, "second")
    ended = await launcher.ended(job)
    again = await launcher.supervisor.cancel("acme", job.id, "third")

    assert asked.is_cancelled
    assert (ended.state, ended.message) == (JobState.CANCELLED, "first")
    assert again == ended


async def test_cancelling_just_as_the_job_starts_ends_it(launch):
    launcher = await launch()
    start, starting, go = launcher.runner.start, asyncio.Event(), asyncio.Event()

    async def slow_start(job):
        starting.set()
        await go.wait()
        await start(job)

    launcher.runner.start = slow_start
    job, _ = await launcher.submit()
    await starting.wait()
    await launcher.supervisor.cancel("acme", job.id, "never mind")
    go.set()

    ended = await launcher.ended(job)

    assert ended.state is JobState.CANCELLED
    assert launcher.runner.started == []


async def test_a_job_that_published_before_it_was_stopped_has_succeeded(launch, eventually):
    launcher = await launch()
    job, _ = await launcher.submit()
    await running(launcher, eventually, job)
    done = Outcome(result=JobResult(verdict=Verdict.SUCCEEDED, publication=VERSION), exit="exit code 0")
    launcher.runner.end(job.id, done)

    await launcher.supervisor.cancel("acme", job.id, "too late")

    ended = await launcher.ended(job)
    assert ended.state is JobState.SUCCEEDED
    assert ended.publication == VERSION


async def test_a_job_that_runs_too_long_is_stopped_and_fails(launch, eventually):
    launcher = await launch(max_job_s=10)
    job, _ = await launcher.submit()
    await running(launcher, eventually, job)

    launcher.clock.advance(11)

    ended = await launcher.ended(job)
    assert ended.state is JobState.FAILED
    assert "max_job_s" in ended.message


async def test_a_job_that_floods_its_log_is_stopped_and_fails(launch, eventually):
    launcher = await launch(max_log_bytes=10)
    job, _ = await launcher.submit()
    await running(launcher, eventually, job)

    launcher.runner.write_log(job.id, b"x" * 11)

    ended = await launcher.ended(job)
    assert ended.state is JobState.FAILED
    assert "max_log_bytes" in ended.message


async def test_a_restart_follows_what_runs_and_starts_what_waits_in_order(launch, eventually):
    first = await launch()
    jobs = []
    for number in range(3):
        jobs.append((await first.submit(f"r{number}"))[0])
        first.clock.advance(1)
    await running(first, eventually, jobs[0])
    await first.supervisor.close()

    second = await launch(store=first.store, runner=first.runner)
    assert second.catalogue.find(jobs[0].id).state is JobState.RUNNING
    for job in jobs:
        await running(second, eventually, job)
        second.runner.succeed(job.id)
        await second.ended(job)

    assert second.runner.started == [job.id for job in jobs]


async def test_a_restart_sees_a_job_that_ended_meanwhile(launch, eventually):
    first = await launch()
    job, _ = await first.submit()
    await running(first, eventually, job)
    await first.supervisor.close()
    first.runner.end(job.id, LOST)

    second = await launch(store=first.store, runner=first.runner)

    assert (await second.ended(job)).state is JobState.FAILED


async def test_a_drain_cancels_what_runs_with_the_reason_and_keeps_what_waits(launch, eventually):
    first = await launch()
    job, _ = await first.submit("r1")
    await running(first, eventually, job)
    waiting, _ = await first.submit("r2")

    await first.supervisor.drain("launcher stopped")

    kept = await first.store.load(job.id)
    assert (kept.state, kept.message) == (JobState.CANCELLED, "launcher stopped")
    assert first.runner.started == [job.id]
    second = await launch(store=first.store, runner=first.runner)
    await running(second, eventually, waiting)


async def test_the_end_of_a_job_outlasts_a_store_that_is_away(launch, eventually, monkeypatch):
    class SometimesStore(MemoryJobStore):
        failures = 0

        async def append(self, job):
            if self.failures:
                self.failures -= 1
                raise UnavailableError("disk full")
            await super().append(job)

    monkeypatch.setattr("dragoman_launcher.supervisor.FIRST_RETRY_DELAY_S", 0.001)
    launcher = await launch(store=SometimesStore())
    job, _ = await launcher.submit()
    await running(launcher, eventually, job)
    launcher.store.failures = 5

    launcher.runner.succeed(job.id)

    assert (await launcher.ended(job)).state is JobState.SUCCEEDED
    assert (await launcher.store.load(job.id)).state is JobState.SUCCEEDED


async def test_a_running_job_reports_progress_and_its_version(launch, eventually):
    launcher = await launch()
    job, _ = await launcher.submit()
    await running(launcher, eventually, job)
    progress = Progress(stage="train", epoch=1, report_time=NOW)

    await launcher.supervisor.report(job.id, "acme", progress, None)
    await launcher.supervisor.report(job.id, "acme", None, VERSION)
    await launcher.supervisor.report(job.id, "acme", None, VERSION)

    kept = await launcher.store.load(job.id)
    assert (kept.progress, kept.publication) == (progress, VERSION)
    with pytest.raises(IllegalMoveError, match="already published version 4"):
        await launcher.supervisor.report(job.id, "acme", None, Publication(version=5, root_sha256="c" * 64))


async def test_an_ended_job_reports_nothing(launch, eventually):
    launcher = await launch()
    job, _ = await launcher.submit()
    await running(launcher, eventually, job)
    launcher.runner.succeed(job.id)
    await launcher.ended(job)

    with pytest.raises(IllegalMoveError, match="SUCCEEDED"):
        await launcher.supervisor.report(job.id, "acme", Progress(report_time=NOW), None)


async def test_a_watcher_sees_every_state_when_it_keeps_up_and_the_newest_when_it_does_not(launch, eventually):
    launcher = await launch()
    before, _ = await launcher.submit("r1")
    await running(launcher, eventually, before)
    job, _ = await launcher.submit("r2")
    slow = launcher.catalogue.watch("acme", job.id)
    assert (await anext(slow)).state is JobState.PENDING
    launcher.runner.succeed(before.id)
    await running(launcher, eventually, job)
    for step in range(100):
        await launcher.supervisor.report(job.id, "acme", Progress(step=step, report_time=NOW), None)

    seen = await anext(slow)
    launcher.runner.succeed(job.id)
    rest = [job.state async for job in slow]

    assert (seen.state, seen.progress.step) == (JobState.RUNNING, 99)
    assert rest == [JobState.SUCCEEDED]


async def test_other_tenants_see_no_job(launch):
    launcher = await launch()
    job, _ = await launcher.submit(tenant="acme")

    with pytest.raises(JobNotFoundError):
        launcher.catalogue.get("bolt", job.id)
    with pytest.raises(JobNotFoundError):
        await launcher.supervisor.cancel("bolt", job.id, "")
    with pytest.raises(JobNotFoundError):
        await anext(launcher.catalogue.watch("bolt", job.id))
    with pytest.raises(JobNotFoundError):
        await launcher.supervisor.report(job.id, "bolt", None, None)
    assert launcher.catalogue.page("bolt", 0, "") == ([], "")


async def test_pages_show_every_job_once_newest_first_also_while_new_ones_come(launch):
    launcher = await launch()
    for number in range(7):
        await launcher.submit(f"r{number}")
        launcher.clock.advance(1)

    seen, token = launcher.catalogue.page("acme", 3, "")
    await launcher.submit("newer")
    while token:
        jobs, token = launcher.catalogue.page("acme", 3, token)
        seen += jobs

    assert [job.spec.request_id for job in seen] == [f"r{number}" for number in reversed(range(7))]


@pytest.mark.parametrize(("size", "token"), [(-1, ""), (1001, ""), (1, "x"), (1, "%%%"), (1, "fHx8"), (1, "ÿ")])
async def test_a_bad_page_is_refused(launch, size, token):
    with pytest.raises(InvalidArgumentError, match="page_"):
        (await launch()).catalogue.page("acme", size, token)


async def test_each_change_is_announced_and_a_restart_announces_what_was_missed(launch, eventually):
    first = await launch()
    job, _ = await first.submit()
    await eventually(lambda: any(a.state is JobState.RUNNING for a in first.events.announcements), "announced")
    first.events.announce = None  # the event log is gone, and so is, right after, the launcher
    first.announcer.told = lambda job: None
    await first.supervisor.close()
    first.runner.succeed(job.id)

    second = await launch(store=first.store, runner=first.runner)
    await second.ended(job)
    await eventually(lambda: second.events.announcements, "announced")

    assert await second.announcer.drained(5)
    assert second.events.announcements[-1].state is JobState.SUCCEEDED
    third = await launch(store=first.store, runner=first.runner)
    assert await third.announcer.drained(5)
    assert third.events.announcements == []


async def test_an_event_log_that_is_away_stops_no_job_and_hears_of_it_later(launch, eventually, monkeypatch):
    monkeypatch.setattr("dragoman_launcher.announcer.FIRST_RETRY_DELAY_S", 0.001)
    launcher = await launch()
    announce, failures = launcher.events.announce, []

    async def announce_or_not(job):
        if len(failures) < 5:
            failures.append(job.id)
            raise UnavailableError("away")
        await announce(job)

    launcher.events.announce = announce_or_not
    job, _ = await launcher.submit()
    await running(launcher, eventually, job)
    launcher.runner.succeed(job.id)
    await launcher.ended(job)

    assert await launcher.announcer.drained(10)
    assert launcher.events.announcements[-1].state is JobState.SUCCEEDED
