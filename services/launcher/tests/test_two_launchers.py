# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Two launchers of one cluster, as processes that share nothing else: whichever is asked, and whichever is killed."""

import asyncio
import sys
from contextlib import AsyncExitStack
from urllib.parse import quote

import pytest

from dragoman.launcher.v1 import launcher_pb2 as pb
from dragoman.launcher.v1.launcher_pb2_grpc import LauncherServiceStub
from dragoman_common.channel import connect
from dragoman_common.clock import SystemClock
from dragoman_common.service_keys import FixedToken
from services.launcher.tests.fake_cluster import FakeCluster, serving
from services.launcher.tests.test_launcher_on_kubernetes import IMAGE, running_pod
from services.launcher.tests.test_launcher_process import Home, ended, submit

pytestmark = pytest.mark.slow


@pytest.fixture
async def cluster():
    return FakeCluster(always="run on")


class Pair:
    """The one that leads, and the other one."""

    def __init__(self, homes, started):
        is_first = "leads" in (homes[0].folder / "launcher.log").read_text()
        self.homes = homes if is_first else homes[::-1]
        (self.leader, self.led_stub), (self.other, self.other_stub) = started if is_first else started[::-1]


@pytest.fixture
async def pair(tmp_path, cluster, eventually):
    homes = []
    async with serving(cluster, tmp_path) as kubeconfig, AsyncExitStack() as stack:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            home = Home(tmp_path / name, (sys.executable,), eventually)
            for variable in ("COMMAND", "JOBS_DIR", "DATA_DIR"):
                del home.environ[f"DRAGOMAN_LAUNCHER_{variable}"]
            home.environ |= {
                "DRAGOMAN_LAUNCHER_JOBS_URL": f"kubernetes://training?image={IMAGE}&kubeconfig={quote(str(kubeconfig))}",
                "DRAGOMAN_LAUNCHER_ADVERTISED_TARGET": "launcher.dragoman:9000",
                "DRAGOMAN_LAUNCHER_MAX_RUNNING": "2",
            }
            for variable in ("KEY_FILE", "TRUST_FILE", "EVENTS_URL"):
                # Theirs are one installation's keys and events.
                if homes:
                    of_first = homes[0].environ[f"DRAGOMAN_LAUNCHER_{variable}"]
                    home.environ[f"DRAGOMAN_LAUNCHER_{variable}"] = of_first
            home.keys = homes[0].keys if homes else home.keys
            homes.append(home)
        started = [await stack.enter_async_context(home.launcher()) for home in homes]

        def somebody_leads():
            return any("leads" in (home.folder / "launcher.log").read_text() for home in homes)

        await eventually(somebody_leads, "one leads")
        yield Pair(homes, started)


def named(cluster, suffix):
    return [name for kind, name in cluster.objects if kind == "ConfigMap" and suffix in name]


async def log_of(stub, job):
    return b"".join([reply.data async for reply in stub.ReadJobLog(pb.ReadJobLogRequest(id=job.id), timeout=60)])


async def test_the_same_request_to_both_makes_one_job_that_both_show(pair, cluster):
    replies = await asyncio.gather(*(submit(stub) for stub in (pair.led_stub, pair.other_stub) for _ in range(3)))

    assert sum(reply.created for reply in replies) == 1
    (job_id,) = {reply.job.id for reply in replies}
    job = replies[0].job
    pod = await running_pod(pair.homes[0], cluster, job)
    assert cluster.num_started == 1

    # The pod reaches one of them, and what it says is seen at the other.
    async def report(home, process, request):
        port = home.ready(process)["port"]
        own = {"tenant": "acme", "job_id": job_id, "job_model": "r8", "identity": "trainer"}
        token = home.keys.key("launcher").token(audience=("launcher",), clock=SystemClock(), **own)
        async with connect(f"127.0.0.1:{port}", audience="launcher", tokens=FixedToken(token)) as channel:
            return await LauncherServiceStub(channel).ReportProgress(request)

    progress = pb.Progress(stage="train", step=7, num_steps=9)
    await report(pair.homes[1], pair.other, pb.ReportProgressRequest(id=job_id, progress=progress))
    watched = pair.led_stub.WatchJob(pb.WatchJobRequest(id=job_id), timeout=60)
    async for reply in watched:
        if reply.job.progress.step == 7:
            break
    assert reply.job.state == pb.JOB_STATE_RUNNING
    watched.cancel()

    cluster.kill(pod, 0)
    ends = await asyncio.gather(*(ended(stub, job) for stub in (pair.led_stub, pair.other_stub)))
    assert [end.state for end in ends] == [pb.JOB_STATE_SUCCEEDED] * 2
    assert ends[0] == ends[1]
    for stub in (pair.led_stub, pair.other_stub):
        assert [found.id for found in (await stub.ListJobs(pb.ListJobsRequest())).jobs] == [job_id]
    assert named(cluster, "-record") == [f"{job_id}-record"]


async def test_a_job_is_cancelled_through_the_launcher_that_does_not_lead(pair, cluster):
    running = (await submit(pair.other_stub, "r1")).job
    await running_pod(pair.homes[0], cluster, running)
    second = (await submit(pair.led_stub, "r2")).job
    await running_pod(pair.homes[0], cluster, second)
    waiting = (await submit(pair.led_stub, "r3")).job

    for job in (running, waiting):
        await pair.other_stub.CancelJob(pb.CancelJobRequest(id=job.id, reason="enough"))
    ends = [await ended(stub, job) for job in (running, waiting) for stub in (pair.led_stub, pair.other_stub)]

    assert {(end.state, end.message) for end in ends} == {(pb.JOB_STATE_CANCELLED, "enough")}
    assert cluster.named("Job", running.id) is None
    assert cluster.num_started == 2


async def test_both_say_what_a_job_waits_for_until_it_runs(pair, cluster):
    cluster.always = "stuck"
    job = (await submit(pair.other_stub)).job

    async def said(stub, text):
        async for reply in stub.WatchJob(pb.WatchJobRequest(id=job.id), timeout=60):
            if reply.job.state == pb.JOB_STATE_RUNNING and reply.job.message == text:
                return

    for stub in (pair.led_stub, pair.other_stub):
        await said(stub, "waiting: ImagePullBackOff: Back-off pulling image")
    cluster.always = "run on"
    cluster.kill(await running_pod(pair.homes[0], cluster, job), 137)

    for stub in (pair.led_stub, pair.other_stub):
        await said(stub, "")


@pytest.mark.parametrize("how", ["killed", "told to stop"])
async def test_one_that_goes_in_the_middle_of_archiving_is_followed_by_the_other(pair, cluster, eventually, how):
    job = (await submit(pair.led_stub)).job
    pod = await running_pod(pair.homes[0], cluster, job)
    name = pod["metadata"]["name"]
    cluster.write_log(name, b"first\n")
    follow = pair.other_stub.ReadJobLog(pb.ReadJobLogRequest(id=job.id, follow=True), timeout=120)
    assert (await follow.read()).data == b"first\n"

    cluster.write_log(name, b"half of a ")
    if how == "killed":
        pair.leader.kill()
    else:
        pair.leader.terminate()
    await pair.leader.wait()
    waiting = (await submit(pair.other_stub, "r2")).job
    cluster.write_log(name, b"line\n")
    cluster.kill(pod, 0)

    end = await ended(pair.other_stub, job)
    assert end.state == pb.JOB_STATE_SUCCEEDED, end.message
    assert await log_of(pair.other_stub, job) == b"first\nhalf of a line\n"
    assert b"first\n" + b"".join([reply.data async for reply in follow]) == b"first\nhalf of a line\n"
    await running_pod(pair.homes[1], cluster, waiting)
    assert sorted(named(cluster, job.id)) == [f"{job.id}-log-0000", f"{job.id}-record"]
    assert cluster.named("ConfigMap", f"{job.id}-record")["data"].keys() >= {"job.json", "000002.json"}
    assert "000003.json" not in cluster.named("ConfigMap", f"{job.id}-record")["data"]
