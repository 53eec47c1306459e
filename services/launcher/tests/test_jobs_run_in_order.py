# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Submission, queue and supervision on fakes: who starts when, what ends a job, what a restart finds."""

import asyncio

import pytest

from dragoman_common.errors import UnavailableError
from dragoman_launcher.contracts import NOW, spec
from dragoman_launcher.job import JobState, Publication, TrainingJob
from dragoman_launcher.memory import MemoryJobStore
from dragoman_launcher.outcome import JobResult, Outcome, Verdict
from dragoman_launcher.ports import JobStartError

LOST = Outcome(result=None, exit="exit code 3", log_tail="Traceback\nMemoryError")
VERSION = Publication(version=4, root_sha256="b" * 64)


async def test_jobs_start_in_order_and_no_more_at_once_than_allowed(launch, eventually):
    launcher = await launch(max_running=2)
    jobs = [(await launcher.submit(f"r{number}"))[0] for number in range(4)]
    await eventually(lambda: len(launcher.runner.started) == 2, "two jobs run")
    assert launcher.catalogue.find(jobs[2].id).state is JobState.PENDING

    launcher.runner.succeed(jobs[1].id)

    await launcher.ended(jobs[1])
    await eventually(lambda: len(launcher.runner.started) == 3, "the third job runs")
    assert launcher.runner.started == [job.id for job in jobs[:3]]


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
    await launcher.running(job)

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
    await launcher.running(second)


async def test_cancelling_a_waiting_job_ends_it_and_it_never_starts(launch, eventually):
    launcher = await launch()
    first, _ = await launcher.submit("r1")
    await launcher.running(first)
    second, _ = await launcher.submit("r2")

    cancelled = await launcher.supervisor.cancel("acme", second.id, "changed my mind")

    assert cancelled.state is JobState.CANCELLED
    assert cancelled.message == "changed my mind"
    launcher.runner.succeed(first.id)
    await launcher.ended(first)
    assert launcher.runner.started == [first.id]


async def test_a_waiting_job_whose_canceller_goes_away_is_cancelled_all_the_same(launch):
    launcher = await launch()
    first, _ = await launcher.submit("r1")
    await launcher.running(first)
    second, _ = await launcher.submit("r2")
    stop, stopping, go = launcher.runner.stop, asyncio.Event(), asyncio.Event()

    async def slow_stop(job_id, grace_s):
        stopping.set()
        await go.wait()
        await stop(job_id, grace_s)

    launcher.runner.stop = slow_stop
    caller = asyncio.create_task(launcher.supervisor.cancel("acme", second.id, "enough"))
    await stopping.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (await launcher.store.load(second.id)).is_cancelled

    # Also told of it meanwhile, and with room for it.
    launcher.supervisor.notice(launcher.catalogue.find(second.id))
    launcher.runner.succeed(first.id)
    await launcher.ended(first)
    go.set()

    ended = await launcher.ended(second)
    assert (ended.state, ended.message) == (JobState.CANCELLED, "enough")
    assert launcher.runner.started == [first.id]


async def test_cancelling_twice_or_after_the_end_changes_nothing(launch, eventually):
    launcher = await launch()
    job, _ = await launcher.submit()
    await launcher.running(job)

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
    await launcher.running(job)
    done = Outcome(result=JobResult(verdict=Verdict.SUCCEEDED, publication=VERSION), exit="exit code 0")
    launcher.runner.end(job.id, done)

    await launcher.supervisor.cancel("acme", job.id, "too late")

    ended = await launcher.ended(job)
    assert ended.state is JobState.SUCCEEDED
    assert ended.publication == VERSION


async def test_a_job_that_runs_too_long_is_stopped_and_fails(launch, eventually):
    launcher = await launch(max_job_s=10)
    job, _ = await launcher.submit()
    await launcher.running(job)

    launcher.clock.advance(11)

    ended = await launcher.ended(job)
    assert ended.state is JobState.FAILED
    assert ended.message.startswith("The job did not end within 10 s of its start (max_job_s)")


async def test_a_job_that_floods_its_log_is_stopped_and_fails(launch, eventually):
    launcher = await launch(max_log_bytes=10)
    job, _ = await launcher.submit()
    await launcher.running(job)

    launcher.runner.write_log(job.id, b"x" * 11)

    ended = await launcher.ended(job)
    assert ended.state is JobState.FAILED
    assert "max_log_bytes" in ended.message


async def test_a_job_whose_log_cannot_be_asked_for_is_followed_to_its_end(launch, eventually):
    launcher = await launch(max_log_bytes=10)
    log_bytes, asked = launcher.runner.log_bytes, []

    async def sometimes(job_id):
        asked.append(job_id)
        if len(asked) == 1:
            raise UnavailableError("the cluster does not answer")
        return await log_bytes(job_id)

    launcher.runner.log_bytes = sometimes
    job, _ = await launcher.submit()
    await launcher.running(job)
    await eventually(lambda: len(asked) > 1, "it is asked again")

    launcher.runner.write_log(job.id, b"x" * 11)

    assert "max_log_bytes" in (await launcher.ended(job)).message
    await eventually(lambda: launcher.queue.num_running == 0, "its place is free")


async def test_a_restart_follows_what_runs_and_starts_what_waits_in_order(launch, eventually):
    first = await launch()
    jobs = []
    for number in range(3):
        jobs.append((await first.submit(f"r{number}"))[0])
        first.clock.advance(1)
    await first.running(jobs[0])
    await first.supervisor.close()

    second = await launch(store=first.store, runner=first.runner)
    assert second.catalogue.find(jobs[0].id).state is JobState.RUNNING
    for job in jobs:
        await second.running(job)
        second.runner.succeed(job.id)
        await second.ended(job)

    assert second.runner.started == [job.id for job in jobs]


async def test_a_restart_sees_a_job_that_ended_meanwhile(launch, eventually):
    first = await launch()
    job, _ = await first.submit()
    await first.running(job)
    await first.supervisor.close()
    first.runner.end(job.id, LOST)

    second = await launch(store=first.store, runner=first.runner)

    assert (await second.ended(job)).state is JobState.FAILED


async def test_a_drain_cancels_what_runs_with_the_reason_and_keeps_what_waits(launch, eventually):
    first = await launch()
    job, _ = await first.submit("r1")
    await first.running(job)
    waiting, _ = await first.submit("r2")

    await first.supervisor.drain("launcher stopped")

    kept = await first.store.load(job.id)
    assert (kept.state, kept.message) == (JobState.CANCELLED, "launcher stopped")
    assert first.runner.started == [job.id]
    second = await launch(store=first.store, runner=first.runner)
    await second.running(waiting)


async def test_the_end_of_a_job_outlasts_a_store_that_is_away(launch, eventually, monkeypatch):
    class SometimesStore(MemoryJobStore):
        failures = 0

        async def append(self, job):
            if self.failures:
                self.failures -= 1
                raise UnavailableError("disk full")
            await super().append(job)

    monkeypatch.setattr("dragoman_launcher.patience.FIRST_RETRY_DELAY_S", 0.001)
    launcher = await launch(store=SometimesStore())
    job, _ = await launcher.submit()
    await launcher.running(job)
    launcher.store.failures = 5

    launcher.runner.succeed(job.id)

    assert (await launcher.ended(job)).state is JobState.SUCCEEDED
    assert (await launcher.store.load(job.id)).state is JobState.SUCCEEDED


async def test_a_launcher_that_steps_down_leaves_its_jobs_and_takes_them_back(launch):
    launcher = await launch(max_running=1)
    job, _ = await launcher.submit("r1")
    await launcher.running(job)
    waiting, _ = await launcher.submit("r2")

    await launcher.supervisor.step_down()
    launcher.runner.succeed(job.id)
    await asyncio.sleep(0)
    assert launcher.catalogue.find(job.id).state is JobState.RUNNING
    assert (launcher.queue.num_running, launcher.queue.num_pending) == (1, 1)
    late, _ = await launcher.submit("r3")
    assert launcher.runner.started == [job.id]

    await launcher.supervisor.open()
    assert (await launcher.ended(job)).state is JobState.SUCCEEDED
    await launcher.running(waiting)
    assert launcher.runner.started == [job.id, waiting.id]
    assert launcher.catalogue.find(late.id).state is JobState.PENDING


async def test_what_another_launcher_starts_and_ends_counts_here(launch):
    here = await launch(max_running=1)
    await here.supervisor.step_down()
    pending = TrainingJob.created(spec("r1"))
    running = pending.start(NOW)
    for seen, counts in (
        (pending, (0, 1)),
        (running, (1, 0)),
        (pending, (1, 0)),
        (running.fail(NOW, "boom"), (0, 0)),
    ):
        here.catalogue.take(seen)
        here.supervisor.notice(seen)
        assert (here.queue.num_running, here.queue.num_pending) == counts


class AwayStore(MemoryJobStore):
    """Does not answer for as many calls as it is told."""

    def __init__(self):
        super().__init__()
        self.num_away = 0

    def check(self):
        if self.num_away:
            self.num_away -= 1
            raise UnavailableError("the cluster does not answer")

    async def load_all(self):
        self.check()
        return await super().load_all()

    async def append(self, job):
        self.check()
        await super().append(job)


async def test_a_launcher_takes_over_a_job_cancelled_while_it_waited_from_a_store_that_hardly_answers(
    launch, monkeypatch
):
    monkeypatch.setattr("dragoman_launcher.patience.FIRST_RETRY_DELAY_S", 0.001)
    here = await launch(store=AwayStore())
    await here.supervisor.step_down()
    job, _ = await here.submit()
    await here.supervisor.cancel("acme", job.id, "enough")

    for num_away in (1, 2, 3):
        here.store.num_away = num_away
        await here.supervisor.open()
    ended = await here.ended(job)

    assert (ended.state, ended.message) == (JobState.CANCELLED, "enough")
    assert here.runner.started == []


async def test_a_job_that_the_former_launcher_ends_during_a_takeover_stays_as_it_ended(launch):
    here = await launch()
    await here.supervisor.step_down()
    job, _ = await here.submit()
    cancelled = await here.supervisor.cancel("acme", job.id, "enough")
    adopt, ends = here.runner.adopt, cancelled.cancel(NOW, "ended there")

    async def adopt_late(job_id):
        await here.store.append(ends)
        return await adopt(job_id)

    here.runner.adopt = adopt_late
    await here.supervisor.open()

    assert await here.ended(job) == ends
    assert here.runner.started == []


async def test_a_job_that_ended_unseen_is_not_run_again_by_the_launcher_that_takes_over(launch):
    here = await launch()
    await here.supervisor.step_down()
    job, _ = await here.submit()
    began = job.start(NOW)
    ends = began.fail(NOW, "boom")
    await here.store.append(began)
    await here.store.append(ends)

    await here.supervisor.open()

    assert await here.ended(job) == ends
    assert here.runner.started == []
    assert (here.queue.num_running, here.queue.num_pending) == (0, 0)


async def test_what_was_begun_of_a_job_that_another_launcher_ended_meanwhile_is_undone(launch, eventually):
    launcher = await launch()
    start, ends = launcher.runner.start, []

    async def start_late(job):
        ends.append(job.cancel(NOW, "ended there"))
        await launcher.store.append(ends[0])
        await start(job)

    launcher.runner.start = start_late
    job, _ = await launcher.submit()

    assert await launcher.ended(job) == ends[0]
    async with asyncio.timeout(10):
        assert (await launcher.runner.wait(job.id)).exit == "signal SIGTERM"
    await eventually(lambda: launcher.queue.num_running == 0, "its place is free")
