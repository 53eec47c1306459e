# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The launcher on a cluster: the port's contract, and what only a cluster does. Against a small fake of one."""

import asyncio

import pytest

from dragoman_launcher.cluster_api import ClusterApi
from dragoman_launcher.contracts import JobRunnerContract, spec
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.job_objects import JobTerms
from dragoman_launcher.jobs_url import ClusterSettings
from dragoman_launcher.kubernetes_jobs import KubernetesJobRunner
from dragoman_launcher.outcome import Verdict
from dragoman_launcher.ports import JobStartError
from dragoman_launcher.trainer_environment import Places
from services.launcher.tests import kubernetes_schemas
from services.launcher.tests.fake_cluster import FakeCluster, serving

SETTINGS = ClusterSettings(namespace="training", image="registry.example/trainer@sha256:" + "ab" * 32)
DEADLINE_S = 20.0


@pytest.fixture
async def cluster():
    return FakeCluster()


@pytest.fixture
async def runners(cluster, tmp_path):
    """Make runners on the cluster: each further one is what follows after the one before has gone."""
    made = []
    async with serving(cluster, tmp_path) as kubeconfig:

        async def make(settings=SETTINGS):
            api = await ClusterApi.open(settings.namespace, kubeconfig=str(kubeconfig))
            runner = KubernetesJobRunner(
                api=api,
                cluster=settings,
                terms=JobTerms(command=("trainer",), max_job_s=3600, grace_s=5),
                places=lambda: Places(data_dir="", launcher_target="launcher:1", registry_target="registry:1"),
            )
            await runner.open()
            made.append(runner)
            return runner

        yield make
        for runner in made:
            await runner.close()


@pytest.fixture
async def runner(runners):
    return await runners()


def job(kind="succeed", **changes):
    return TrainingJob.created(spec(kind, effective_recipe=kind, **changes))


async def within(work):
    async with asyncio.timeout(DEADLINE_S):
        return await work


class TestKubernetesJobRunner(JobRunnerContract):
    @pytest.fixture
    async def runner(self, runners, cluster, eventually):
        self.cluster, self.eventually = cluster, eventually
        return await runners()

    async def started(self, runner, kind):
        started = job(kind)
        await runner.start(started)
        if kind == "run on":
            await self.eventually(lambda: self.cluster.num_started, "the pod runs")
        return started


def pod_of(cluster, started, attempt=0):
    return cluster.named("Pod", f"{started.id}-0-x{attempt}")


def is_running(cluster, started, attempt=0):
    return "killed" in (pod_of(cluster, started, attempt) or {})


async def running(cluster, runner, eventually, attempt=0):
    started = job("run on")
    await runner.start(started)
    await eventually(lambda: is_running(cluster, started, attempt), "the pod runs")
    return started


async def test_one_request_makes_one_job_whoever_asks(cluster, runners):
    first, second = await runners(), await runners()
    wanted = job()

    await asyncio.gather(*(runner.start(wanted) for runner in (first, second) for _ in range(4)))

    outcomes = [await within(runner.wait(wanted.id)) for runner in (first, second)]
    assert [outcome.result.verdict for outcome in outcomes] == [Verdict.SUCCEEDED] * 2
    assert cluster.num_started == 1


async def test_a_launcher_that_follows_loses_nothing(cluster, runners, eventually):
    first = await runners()
    started = await running(cluster, first, eventually)
    cluster.write_log(pod_of(cluster, started)["metadata"]["name"], b"one\n")
    await eventually(lambda: first.log_bytes(started.id), "the log is kept")
    await first.close()
    cluster.write_log(pod_of(cluster, started)["metadata"]["name"], b"two\n")

    second = await runners()
    assert [found.id for found in await second.recorded()] == [started.id]
    assert await second.adopt(started.id)
    cluster.kill(pod_of(cluster, started), 0)

    outcome = await within(second.wait(started.id))
    assert outcome.result.verdict is Verdict.SUCCEEDED
    assert await second.read_log(started.id, 0, 100) == b"one\ntwo\n"
    assert (await second.recorded()) == [started.spec]


async def test_how_much_a_followed_job_has_written_is_known_without_asking_the_cluster(
    cluster, runners, eventually, monkeypatch
):
    monkeypatch.setattr("dragoman_launcher.open_logs.MAX_OPEN_LOGS", 1)
    first = await runners()
    started = await running(cluster, first, eventually)
    cluster.write_log(pod_of(cluster, started)["metadata"]["name"], b"one\n")
    await eventually(lambda: first.log_bytes(started.id), "the log is kept")
    await first.close()

    second = await runners()
    await second.adopt(started.id)

    async def has_written(num_bytes):
        return await second.log_bytes(started.id) == num_bytes

    await eventually(lambda: has_written(4), "what was kept before is counted")
    cluster.write_log(pod_of(cluster, started)["metadata"]["name"], b"two\n")
    await eventually(lambda: has_written(8), "what follows is counted")
    for request_id in ("other", "another"):
        await second.read_log(spec(request_id).id, 0, 10)
    calls = len(cluster.calls)
    assert await has_written(8)
    assert len(cluster.calls) == calls
    await second.read_log(started.id, 0, 10)
    assert len(cluster.calls) - calls <= 1


async def test_a_killed_pod_is_repeated_and_the_log_goes_on(cluster, runner, eventually):
    started = await running(cluster, runner, eventually)
    for attempt in range(3):
        await eventually(lambda a=attempt: is_running(cluster, started, a), "the pod runs")
        pod = pod_of(cluster, started, attempt)
        cluster.write_log(pod["metadata"]["name"], b"try %d\n" % attempt)
        cluster.kill(pod, 137)
    await eventually(lambda: is_running(cluster, started, 3), "the last pod runs")
    cluster.kill(pod_of(cluster, started, 3), 0)

    outcome = await within(runner.wait(started.id))

    assert outcome.result.verdict is Verdict.SUCCEEDED
    assert await runner.read_log(started.id, 0, 100) == b"try 0\ntry 1\ntry 2\n"
    assert await runner.read_log(started.id, 4, 7) == b"0\ntry 1"


async def test_a_failed_training_is_not_repeated_and_says_why(cluster, runner):
    wanted = job("fail")
    await runner.start(wanted)

    outcome = await within(runner.wait(wanted.id))

    assert outcome.exit.startswith("exit code 1; Kubernetes says PodFailurePolicy")
    assert outcome.log_tail == "hello"
    assert cluster.num_started == 1


async def test_pods_lost_too_often_fail_the_job(cluster, runners, eventually):
    runner = await runners(ClusterSettings(namespace="training", image=SETTINGS.image, backoff_limit=0))
    started = await running(cluster, runner, eventually)
    cluster.kill(pod_of(cluster, started), 137)

    outcome = await within(runner.wait(started.id))

    assert outcome.result is None
    assert outcome.exit.startswith("signal SIGKILL; Kubernetes says BackoffLimitExceeded")


async def test_a_job_that_got_to_its_end_while_it_was_stopped_has_succeeded(cluster, runner, eventually):
    started = await running(cluster, runner, eventually)
    stopping = asyncio.create_task(runner.stop(started.id, 5))
    cluster.kill(pod_of(cluster, started), 0)

    await within(stopping)

    outcome = await within(runner.wait(started.id))
    assert outcome.result.verdict is Verdict.SUCCEEDED


async def test_a_stopped_job_stays_stopped_for_the_launcher_that_follows(cluster, runners, eventually):
    first = await runners()
    started = await running(cluster, first, eventually)
    await within(first.stop(started.id, 5))
    assert cluster.named("Job", started.id) is None

    second = await runners()
    assert await second.adopt(started.id)
    await second.start(started)

    outcome = await within(second.wait(started.id))
    assert outcome.result is None
    assert cluster.num_started == 1


async def test_a_job_whose_pod_never_started_says_what_it_waited_for(cluster, runner, eventually):
    stuck = job("stuck")
    await runner.start(stuck)
    await eventually(lambda: is_running(cluster, stuck), "the pod waits")
    waiting = asyncio.create_task(runner.wait(stuck.id))
    await eventually(lambda: runner._followed[stuck.id].waited, "it is seen")

    await within(runner.stop(stuck.id, 5))

    assert (await within(waiting)).exit.endswith("its pod waited (ImagePullBackOff: Back-off pulling image)")


async def test_a_job_that_somebody_deletes_has_ended(cluster, runner, eventually):
    started = await running(cluster, runner, eventually)
    await cluster.delete_job(cluster.named("Job", started.id))

    outcome = await within(runner.wait(started.id))

    assert outcome.result is None
    assert "deleted by somebody else" in outcome.exit


async def test_a_watch_that_is_too_old_lists_again_and_misses_nothing(cluster, runner, eventually):
    started = await running(cluster, runner, eventually)
    waiting = asyncio.create_task(runner.wait(started.id))
    lists = cluster.calls.count(("GET", "Job", False))

    cluster.break_streams()
    cluster.kill(pod_of(cluster, started), 0)
    await eventually(lambda: cluster.named("Job", started.id).get("status"), "the Job is complete")
    cluster.forget_history()

    assert (await within(waiting)).result.verdict is Verdict.SUCCEEDED
    assert cluster.calls.count(("GET", "Job", False)) > lists


async def test_a_broken_watch_goes_on_where_it_was(cluster, runner, eventually):
    started = await running(cluster, runner, eventually)
    cluster.write_log(pod_of(cluster, started)["metadata"]["name"], b"one\n")
    await eventually(lambda: runner.log_bytes(started.id), "the log is kept")

    cluster.break_streams()
    cluster.write_log(pod_of(cluster, started)["metadata"]["name"], b"two\n")
    cluster.kill(pod_of(cluster, started), 0)

    assert (await within(runner.wait(started.id))).result.verdict is Verdict.SUCCEEDED
    assert await runner.read_log(started.id, 0, 100) == b"one\ntwo\n"


async def test_a_server_that_does_not_answer_fails_no_job(cluster, runner):
    cluster.num_unavailable = 3
    wanted = job()

    await within(runner.start(wanted))

    assert (await within(runner.wait(wanted.id))).result.verdict is Verdict.SUCCEEDED


async def test_a_cluster_that_refuses_says_why(cluster, runner):
    cluster.refuse = ("Job", "exceeded quota: jobs.batch=10")
    wanted = job()

    with pytest.raises(JobStartError, match="exceeded quota"):
        await runner.start(wanted)


async def test_a_right_that_is_taken_away_for_a_while_fails_no_job(cluster, runner, eventually):
    started = await running(cluster, runner, eventually)
    cluster.num_unavailable, cluster.unavailable = 4, 403
    cluster.break_streams()
    cluster.kill(pod_of(cluster, started), 0)

    assert (await within(runner.wait(started.id))).result.verdict is Verdict.SUCCEEDED


async def test_what_the_fake_serves_has_the_published_form(cluster, runner):
    wanted = job()
    await runner.start(wanted)
    await within(runner.wait(wanted.id))

    served = [cluster.shown(manifest) for _, _, manifest in cluster.history if manifest["kind"] in {"Job", "Pod"}]
    assert {(m["kind"], (m.get("status") or {}).get("phase")) for m in served} >= {
        ("Job", None),
        ("Pod", "Pending"),
        ("Pod", "Running"),
        ("Pod", "Succeeded"),
    }
    for manifest in served:
        kubernetes_schemas.check(manifest)
