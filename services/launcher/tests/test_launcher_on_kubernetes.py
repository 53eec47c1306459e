# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The launcher as a process that runs its jobs on a cluster: told to stop, killed, and without what it had kept."""

import signal
import sys
from urllib.parse import quote

import pytest

from dragoman.launcher.v1 import launcher_pb2 as pb
from dragoman.launcher.v1.launcher_pb2_grpc import LauncherServiceStub
from dragoman_common.channel import connect
from dragoman_common.errors import NotFoundError, PermissionDeniedError, UnauthenticatedError
from dragoman_common.service_keys import FixedToken
from dragoman_common.status import translated
from services.launcher.tests.fake_cluster import FakeCluster, serving
from services.launcher.tests.test_launcher_process import Home, ended, submit

IMAGE = "registry.example/trainer@sha256:" + "ab" * 32


@pytest.fixture
async def cluster():
    # Its pods run until the test ends them, whatever their recipe says.
    return FakeCluster(always="run on")


@pytest.fixture
async def home(tmp_path, cluster, eventually):
    folder = tmp_path / "home"
    folder.mkdir()
    async with serving(cluster, tmp_path) as kubeconfig:
        made = Home(folder, (sys.executable,), eventually)
        # The data sets are in the pods' claim alone, and the command is the image's.
        for variable in ("COMMAND", "JOBS_DIR", "DATA_DIR"):
            del made.environ[f"DRAGOMAN_LAUNCHER_{variable}"]
        made.environ |= {
            "DRAGOMAN_LAUNCHER_JOBS_URL": f"kubernetes://training?image={IMAGE}&kubeconfig={quote(str(kubeconfig))}",
            "DRAGOMAN_LAUNCHER_ADVERTISED_TARGET": "launcher.dragoman:9000",
            "DRAGOMAN_LAUNCHER_CHECKPOINT_INTERVAL_S": "7",
        }
        yield made


async def running_pod(home, cluster, job):
    def found():
        pod = cluster.named("Pod", f"{job.id}-0-x0")
        return pod if pod is not None and "killed" in pod else None

    return await home.eventually(found, "the pod runs")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_job_goes_on_without_a_launcher_and_the_next_one_sees_its_end(home, cluster, how):
    async with home.launcher() as (process, stub):
        job = (await submit(stub)).job
        pod = await running_pod(home, cluster, job)
        process.send_signal(how)
        await process.wait()
    assert cluster.named("Job", job.id) is not None
    assert "killed" in pod

    cluster.write_log(pod["metadata"]["name"], b"while nobody looked\n")
    cluster.kill(pod, 0)
    async with home.launcher() as (_, stub):
        assert not (await submit(stub)).created
        assert (await ended(stub, job)).state == pb.JobState.JOB_STATE_SUCCEEDED
        log = [reply.data async for reply in stub.ReadJobLog(pb.ReadJobLogRequest(id=job.id), timeout=60)]
    assert b"".join(log) == b"while nobody looked\n"
    assert cluster.num_started == 1


@pytest.mark.slow
async def test_a_launcher_that_lost_its_records_finds_its_jobs_by_their_own(home, cluster):
    async with home.launcher() as (process, stub):
        job = (await submit(stub)).job
        pod = await running_pod(home, cluster, job)
        process.kill()
        await process.wait()
    del cluster.objects["ConfigMap", f"{job.id}-record"]

    async with home.launcher() as (_, stub):
        again = await submit(stub)
        assert (again.created, again.job.id) == (False, job.id)
        cluster.kill(pod, 0)
        assert (await ended(stub, job)).state == pb.JobState.JOB_STATE_SUCCEEDED
    assert cluster.num_started == 1


@pytest.mark.slow
async def test_a_cancelled_job_leaves_the_cluster(home, cluster):
    async with home.launcher() as (_, stub):
        job = (await submit(stub)).job
        await running_pod(home, cluster, job)
        await stub.CancelJob(pb.CancelJobRequest(id=job.id, reason="enough"))
        last = await ended(stub, job)
    assert last.state == pb.JobState.JOB_STATE_CANCELLED
    assert cluster.named("Job", job.id) is None


@pytest.mark.slow
async def test_a_pod_gets_its_jobs_token_for_its_own_and_reports_with_it(home, cluster):
    async with home.launcher() as (process, stub):
        job = (await submit(stub)).job
        pod = await running_pod(home, cluster, job)
        port = home.ready(process)["port"]

        async def call(token, method, request):
            async with connect(f"127.0.0.1:{port}", audience="launcher", tokens=FixedToken(token)) as channel:
                with translated():
                    return await getattr(LauncherServiceStub(channel), method)(request)

        told = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
        assert told["DRAGOMAN_TRAINER_CHECKPOINT_INTERVAL_S"] == "7"
        assert told["DRAGOMAN_TRAINER_LAUNCHER_TARGET"] == "launcher.dragoman:9000"
        pod_token = cluster.given(pod)["pod-token"]
        granted = await call(pod_token, "ExchangePodToken", pb.ExchangePodTokenRequest())
        await call(granted.token, "ReportProgress", pb.ReportProgressRequest(id=job.id))
        assert granted.expire_time.ToSeconds() > 0

        # Its own token is good for this one call, and the job's is not for that.
        for token, method, request in (
            (pod_token, "ReportProgress", pb.ReportProgressRequest(id=job.id)),
            (pod_token, "ListJobs", pb.ListJobsRequest()),
            (granted.token, "ExchangePodToken", pb.ExchangePodTokenRequest()),
        ):
            with pytest.raises(PermissionDeniedError):
                await call(token, method, request)
        with pytest.raises(UnauthenticatedError, match="Audience"):
            other = cluster.token_of(pod, "https://kubernetes.default.svc", 600)
            await call(other, "ExchangePodToken", pb.ExchangePodTokenRequest())
        stranger = cluster.token_of(pod, "dragoman-launcher", 600)
        del cluster.objects["Pod", pod["metadata"]["name"]]
        with pytest.raises(NotFoundError):
            await call(stranger, "ExchangePodToken", pb.ExchangePodTokenRequest())
