# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A job that was started and does not run says why: held in a queue, or with a pod that cannot start."""

import asyncio

import pytest

from dragoman_common.errors import UnavailableError
from dragoman_common.testing import FakeClock
from dragoman_launcher.cluster_store import ClusterJobStore
from dragoman_launcher.contracts import NOW, spec
from dragoman_launcher.convert import message_of
from dragoman_launcher.job import MAX_MESSAGE_CHARS, JobState, Progress, TrainingJob
from dragoman_launcher.job_status import suspension, waits_for
from dragoman_launcher.job_waits import QUIET_S, JobWaits
from dragoman_launcher.jobs_url import ClusterSettings
from dragoman_launcher.memory import MemoryJobStore
from services.launcher.tests.test_kubernetes_jobs import SETTINGS, is_running, job, pod_of, runners, within

__all__ = ["runners"]

QUEUED = ClusterSettings(namespace="training", image=SETTINGS.image, queue="research")
HELD = "suspended: in the queue research; kubectl get workloads says why"
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}


def of_kueue(suspend=True, queue="research", status=None):
    labels = {"kueue.x-k8s.io/queue-name": queue} if queue else None
    return {"metadata": {"name": "job", "labels": labels}, "spec": {"suspend": suspend}, "status": status or {}}


@pytest.mark.parametrize(
    ("kueue_job", "text"),
    [
        (of_kueue(), HELD),
        (of_kueue(queue=""), "suspended"),
        (of_kueue(suspend=False), ""),
        (of_kueue(status=COMPLETE), ""),
        ({"metadata": {"name": "job"}, "status": {}}, ""),
    ],
)
def test_a_suspended_job_says_in_which_queue_it_is(kueue_job, text):
    assert suspension(kueue_job) == text


@pytest.mark.parametrize(
    ("phase", "text"), [("Pending", "Unschedulable: 0/3 nodes"), ("Failed", ""), ("Succeeded", "")]
)
def test_a_pod_that_will_never_start_waits_no_more(phase, text):
    assert waits_for({"status": {"phase": phase, "conditions": [UNSCHEDULABLE]}}) == text


async def test_a_job_says_that_it_is_in_the_queue_until_it_is_let_go_and_again_when_it_is_evicted(
    cluster, runners, eventually
):
    runner = await runners(QUEUED)
    held = job("run on")
    await runner.start(held)
    await eventually(lambda: runner.waits_for(held.id) == HELD, "it is in the queue")

    cluster.let_go(cluster.named("Job", held.id))
    await eventually(lambda: is_running(cluster, held), "its pod runs")
    await eventually(lambda: runner.waits_for(held.id) == "", "it waits no more")

    await cluster.hold_again(cluster.named("Job", held.id))
    assert pod_of(cluster, held) is None
    await eventually(lambda: runner.waits_for(held.id) == HELD, "it is in the queue again")
    waiting = asyncio.create_task(runner.wait(held.id))

    await within(runner.stop(held.id, 5))

    assert (await within(waiting)).result is None
    assert runner.waits_for(held.id) == ""


async def test_a_job_says_what_its_pod_waits_for(cluster, runners, eventually):
    runner = await runners()
    stuck = job("stuck")
    await runner.start(stuck)

    await eventually(lambda: runner.waits_for(stuck.id), "its pod waits")

    assert runner.waits_for(stuck.id) == "ImagePullBackOff: Back-off pulling image"


async def waits(launcher, eventually, of, text):
    await eventually(lambda: message_of(launcher.catalogue.find(of.id)) == text, f"the message is {text!r}")


async def test_a_running_job_shows_its_wait_and_keeps_what_it_reported(launch, eventually):
    launcher = await launch()
    started, _ = await launcher.submit()
    running = await launcher.running(started)
    report = Progress(stage="train", step=7, num_steps=9, metrics={"loss": 0.5}, report_time=launcher.clock.now())
    await launcher.supervisor.report(started.id, "acme", report, None)
    await eventually(lambda: len(launcher.events.announcements) == 2, "its changes are told")
    launcher.clock.advance(5)

    launcher.runner.waits[started.id] = "no GPU"
    await waits(launcher, eventually, started, "waiting: no GPU")

    shown = launcher.catalogue.find(started.id)
    assert (shown.progress.step, shown.progress.metrics) == (7, {"loss": 0.5})
    # It says when the job reported, whatever it waits for since.
    assert shown.progress.report_time == report.report_time
    launcher.runner.waits[started.id] = ""
    await waits(launcher, eventually, started, "")
    assert launcher.catalogue.find(started.id).sequence == running.sequence
    assert len(launcher.events.announcements) == 2


async def test_the_jobs_own_report_ends_the_wait(launch, eventually):
    launcher = await launch()
    started, _ = await launcher.submit()
    await launcher.running(started)
    launcher.runner.waits[started.id] = "no GPU"
    await waits(launcher, eventually, started, "waiting: no GPU")

    del launcher.runner.waits[started.id]
    report = Progress(stage="load", report_time=launcher.clock.now())
    reported = await launcher.supervisor.report(started.id, "acme", report, None)

    assert message_of(reported) == ""


async def test_a_job_that_waits_and_is_cancelled_says_that_it_stops(launch, eventually):
    launcher = await launch()
    started, _ = await launcher.submit()
    await launcher.running(started)
    launcher.runner.waits[started.id] = "no GPU"
    await waits(launcher, eventually, started, "waiting: no GPU")
    waiting = launcher.catalogue.find(started.id)

    assert message_of(waiting.request_cancel(NOW, "enough")) == "stopping: enough"
    assert message_of(waiting.fail(NOW, "boom")) == "boom"


class Full(MemoryJobStore):
    """Takes no progress, a number of times."""

    refusals = 3
    kept = ""

    async def keep_progress(self, job):
        if self.refusals:
            self.refusals -= 1
            raise UnavailableError("away")
        self.kept = job.progress.waits_for


async def test_a_wait_that_the_store_did_not_take_is_kept_later_and_the_job_goes_on(launch, eventually):
    store = Full()
    launcher = await launch(store=store)
    started, _ = await launcher.submit()
    await launcher.running(started)

    launcher.runner.waits[started.id] = "no GPU"

    await eventually(lambda: store.kept == "no GPU", "it is kept")
    launcher.runner.succeed(started.id)
    assert (await launcher.ended(started)).state is JobState.SUCCEEDED


async def test_a_launcher_that_follows_shows_the_wait(launch, api, eventually):
    clock = FakeClock()
    leader = await launch(store=ClusterJobStore(api, clock), clock=clock)
    follower = ClusterJobStore(api, FakeClock())
    seen = {}
    following = asyncio.create_task(follower.follow(lambda found: seen.update({found.id: message_of(found)})))
    started, _ = await leader.submit()
    await leader.running(started)

    leader.runner.waits[started.id] = HELD
    await eventually(lambda: seen.get(started.id) == f"waiting: {HELD}", "the other one shows it")
    leader.runner.waits[started.id] = "Unschedulable"
    await eventually(lambda: seen.get(started.id) == "waiting: Unschedulable", "it changes there, too")
    del leader.runner.waits[started.id]
    await eventually(lambda: seen.get(started.id) == "", "and goes")
    following.cancel()


def test_a_wait_is_bounded_leaves_the_time_of_the_last_report_and_is_only_of_a_running_job():
    running = TrainingJob.created(spec()).start(NOW)
    reported = NOW.replace(hour=1)

    waiting = running.with_progress(Progress(stage="train", report_time=reported)).waiting("x" * 5000)

    assert waiting.progress == Progress(stage="train", waits_for="x" * MAX_MESSAGE_CHARS, report_time=reported)
    assert running.waiting("no GPU").progress == Progress(waits_for="no GPU", report_time=running.start_time)
    ended = running.fail(NOW, "boom")
    assert ended.waiting("no GPU") is ended


def test_a_job_of_which_nothing_is_heard_waits_after_a_while_until_a_pod_of_it_runs():
    now_s = 100.0
    waits = JobWaits(lambda: now_s)
    job = {"metadata": {"name": "job-1"}, "status": {}}
    pod = {"metadata": {"name": "job-1-0"}, "status": {"phase": "Pending"}}
    assert waits.of("job-1", job, []) == ""
    now_s += QUIET_S - 1
    # A quota refuses its pods, or its pod is being made and never starts: neither says so.
    assert waits.of("job-1", job, []) == ""
    now_s += 1
    assert "kubectl describe job job-1" in waits.of("job-1", job, [])
    assert "kubectl describe job job-1" in waits.of("job-1", job, [pod])
    assert waits.of("job-1", job, [pod | {"status": {"phase": "Running"}}]) == ""
    # From the beginning, after a pod that ran.
    assert waits.of("job-1", job, [pod]) == ""


def test_a_job_that_is_in_a_queue_is_not_taken_for_silent_when_it_leaves_it():
    now_s = 100.0
    waits = JobWaits(lambda: now_s)
    job = {"metadata": {"name": "job-1", "labels": {}}, "status": {}}
    assert waits.of("job-1", job, []) == ""
    now_s += QUIET_S
    assert waits.of("job-1", job | {"spec": {"suspend": True}}, []) == "suspended"
    assert waits.of("job-1", job, []) == ""
