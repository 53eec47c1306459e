# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What owners, jobs and the event log get to see of jobs."""

import asyncio

import pytest

from dragoman_common.errors import InvalidArgumentError, UnavailableError
from dragoman_launcher.announcer import Announcer
from dragoman_launcher.catalogue import JobCatalogue, JobNotFoundError
from dragoman_launcher.contracts import NOW, spec
from dragoman_launcher.job import IllegalMoveError, JobState, Progress, Publication, TrainingJob
from dragoman_launcher.memory import MemoryJobEvents, MemoryJobStore
from dragoman_launcher.outcome import Outcome

LOST = Outcome(result=None, exit="exit code 3", log_tail="Traceback\nMemoryError")
VERSION = Publication(version=4, root_sha256="b" * 64)


async def test_a_running_job_reports_progress_and_its_version(launch, eventually):
    launcher = await launch()
    job, _ = await launcher.submit()
    await launcher.running(job)
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
    await launcher.running(job)
    launcher.runner.succeed(job.id)
    await launcher.ended(job)

    with pytest.raises(IllegalMoveError, match="SUCCEEDED"):
        await launcher.supervisor.report(job.id, "acme", Progress(report_time=NOW), None)


async def test_a_watcher_sees_every_state_when_it_keeps_up_and_the_newest_when_it_does_not(launch, eventually):
    launcher = await launch()
    before, _ = await launcher.submit("r1")
    await launcher.running(before)
    job, _ = await launcher.submit("r2")
    slow = launcher.catalogue.watch("acme", job.id)
    assert (await anext(slow)).state is JobState.PENDING
    launcher.runner.succeed(before.id)
    await launcher.running(job)
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
    await launcher.running(job)
    launcher.runner.succeed(job.id)
    await launcher.ended(job)

    assert await launcher.announcer.drained(10)
    assert launcher.events.announcements[-1].state is JobState.SUCCEEDED


async def test_a_job_that_another_launcher_has_kept_is_found_before_it_is_heard_of(launch):
    here = await launch()
    there = await launch(store=here.store)
    job, _ = await there.submit()
    with pytest.raises(JobNotFoundError):
        here.catalogue.get("acme", job.id)

    assert (await here.catalogue.seek("acme", job.id)).spec == job.spec
    with pytest.raises(JobNotFoundError):
        await here.catalogue.seek("bolt", job.id)


async def test_a_change_of_a_job_that_another_launcher_has_changed_is_decided_anew(launch):
    here = await launch()
    there = await launch(store=here.store)
    job, _ = await there.submit()
    here.catalogue.take(job)
    running = await there.running(job)
    assert here.catalogue.find(job.id).state is JobState.PENDING

    changed = await here.catalogue.change(job.id, lambda job: job.request_cancel(running.change_time, "enough"))

    assert (changed.state, changed.sequence, changed.cancel_reason) == (JobState.RUNNING, 2, "enough")


@pytest.mark.parametrize("does_raise", [True, False])
async def test_an_end_that_another_launcher_kept_is_told_of_when_no_change_follows_from_it(does_raise):
    store = MemoryJobStore()
    here, there = JobCatalogue(store), JobCatalogue(store)
    pending = TrainingJob.created(spec())
    await store.create(pending.spec)
    for catalogue in (here, there):
        catalogue.add(pending)
    told, told_of_own = [], []
    here.listen(told.append, to_others=True)
    here.listen(told_of_own.append)
    ends = await there.change(pending.id, lambda job: job.cancel(NOW, "enough"))

    if does_raise:
        with pytest.raises(IllegalMoveError):
            await here.change(pending.id, lambda job: job.start(NOW))
    else:
        assert await here.change(pending.id, lambda job: job if job.is_ended else job.start(NOW)) == ends

    assert (told, told_of_own) == ([ends], [])
    assert here.find(pending.id) == ends


async def test_news_that_is_late_takes_nothing_back(launch):
    here = await launch()
    job, _ = await here.submit()
    running = await here.running(job)
    told = []
    here.catalogue.listen(told.append, to_others=True)

    here.catalogue.take(job)

    assert here.catalogue.find(job.id) == running
    assert told == []


async def test_an_announcement_that_is_cut_off_is_made_by_the_next_one_that_announces():
    store, events = MemoryJobStore(), MemoryJobEvents()
    catalogue = JobCatalogue(store)
    await store.create(spec())
    job = TrainingJob.created(spec())
    begun, announce = asyncio.Event(), events.announce

    async def hang(job):
        begun.set()
        await asyncio.Event().wait()

    events.announce = hang
    announcer = Announcer(catalogue, store, events)
    catalogue.take(job)
    announcing = asyncio.create_task(announcer.run())
    await begun.wait()
    announcing.cancel()
    await asyncio.wait([announcing])

    events.announce = announce
    announcing = asyncio.create_task(announcer.run())
    assert await announcer.drained(30)
    assert events.announcements == [job]
    announcing.cancel()
