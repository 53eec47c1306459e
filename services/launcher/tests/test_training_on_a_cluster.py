# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Training on a real cluster, whole: data of the store, pods that prove themselves, checkpoints, pods that are killed.

    DRAGOMAN_TEST_KUBECONFIG=FILE DRAGOMAN_TEST_TRAINER_IMAGE=NAME DRAGOMAN_TEST_HOST=ADDRESS pytest -m cluster ...

DRAGOMAN_TEST_KUBECONFIG may have no more than the launcher's Role; DRAGOMAN_TEST_ADMIN_KUBECONFIG, else the same one,
deletes pods and records. Launcher and registry run here, as processes, and pods reach them at DRAGOMAN_TEST_HOST. The
image is the trainer's with torch; DRAGOMAN_TEST_JOBS_QUERY adds to jobs_url, DRAGOMAN_TEST_TRAINER_COMMAND replaces its
command.
"""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest

from dragoman.launcher.v1 import launcher_pb2 as pb
from dragoman.registry.v1 import data_pb2_grpc, registry_pb2, registry_pb2_grpc
from dragoman_common.channel import connect
from dragoman_launcher.cluster_api import ClusterApi
from services.launcher.tests.test_kubernetes_cluster import forgotten
from services.launcher.tests.test_launcher_process import Home
from services.registry.tests.registry_process import Home as RegistryHome
from tests.integration.test_training_resumes import RECIPE, put, write_data

KUBECONFIG = os.environ.get("DRAGOMAN_TEST_KUBECONFIG", "")
IMAGE = os.environ.get("DRAGOMAN_TEST_TRAINER_IMAGE", "")
ADMIN = os.environ.get("DRAGOMAN_TEST_ADMIN_KUBECONFIG", KUBECONFIG)
NAMESPACE = os.environ.get("DRAGOMAN_TEST_NAMESPACE", "default")
HOST = os.environ.get("DRAGOMAN_TEST_HOST", "127.0.0.1")
DEADLINE_S = 400.0

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not (KUBECONFIG and IMAGE), reason="no cluster, or no image of the trainer with torch is named"),
]


def free_port():
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        return listening.getsockname()[1]


class Platform:
    """A launcher on the cluster and a registry, both of this machine."""

    def __init__(self, folder, eventually):
        (folder / "registry").mkdir()
        (folder / "launcher").mkdir()
        self.registry = RegistryHome(folder / "registry")
        self.launcher = Home(folder / "launcher", (sys.executable,), eventually)
        self.launcher.host = HOST
        # One set of keys.
        self.launcher.keys = self.registry.keys
        (folder / "launcher/keys/launcher.pem").unlink()
        self.registry.keys.key("launcher").save(folder / "launcher/keys")
        self.registry.keys.trust.save(folder / "launcher/keys/trust.json")
        registry_port, launcher_port = free_port(), free_port()
        self.registry.settings["LISTEN"] = self.target = f"{HOST}:{registry_port}"
        command = os.environ.get("DRAGOMAN_TEST_TRAINER_COMMAND", "")
        query = f"image={quote(IMAGE)}&allow_tag=true&memory=1Gi&scratch=1Gi&kubeconfig={quote(KUBECONFIG)}"
        query += os.environ.get("DRAGOMAN_TEST_JOBS_QUERY", "")
        self.launcher.environ |= {
            "DRAGOMAN_LAUNCHER_LISTEN": f"{HOST}:{launcher_port}",
            "DRAGOMAN_LAUNCHER_ADVERTISED_TARGET": f"{HOST}:{launcher_port}",
            "DRAGOMAN_LAUNCHER_REGISTRY_TARGET": self.target,
            "DRAGOMAN_LAUNCHER_JOBS_URL": f"kubernetes://{NAMESPACE}?{query}",
            "DRAGOMAN_LAUNCHER_COMMAND": command,
            "DRAGOMAN_LAUNCHER_CHECKPOINT_INTERVAL_S": "0.5",
            "DRAGOMAN_LAUNCHER_MAX_RUNNING": "4",
        }
        if not command:
            del self.launcher.environ["DRAGOMAN_LAUNCHER_COMMAND"]

    @asynccontextmanager
    async def registry_channel(self):
        process = await self.registry.spawn()
        try:
            while b'"listening"' not in await process.stderr.readline():
                pass
            # Whatever else it says must not fill the pipe.
            reading = asyncio.create_task(process.stderr.read())
            tokens = self.registry.keys.tokens("operator", tenant="acme")
            async with connect(self.target, audience="registry", tokens=tokens) as channel:
                yield channel
            reading.cancel()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def says(stub, job, text, times):
    """Wait until the job's log has the text so many times."""
    async with asyncio.timeout(DEADLINE_S):
        log = b""
        async for reply in stub.ReadJobLog(pb.ReadJobLogRequest(id=job.id, follow=True), timeout=DEADLINE_S):
            log += reply.data
            if log.count(text) >= times:
                return
    raise AssertionError(f"the job ended: {log.decode()[-3000:]}")


async def over(stub, job):
    """The job at its end."""
    replies = stub.WatchJob(pb.WatchJobRequest(id=job.id), timeout=DEADLINE_S)
    return [reply.job async for reply in replies][-1]


async def kill_pod(api, job):
    """As a node that dies: the pod goes at once, without a word to its process."""
    for pod in (await api.list("Pod", f"dragoman.dev/job={job.id}"))["items"]:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}"
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        await api._ask("DELETE", path, body=body)


async def evict_pod(api, job):
    """As a node that is drained: the pod is told to stop, and its end does not count against the job."""
    for pod in (await api.list("Pod", f"dragoman.dev/job={job.id}"))["items"]:
        name = pod["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
        status, said = await api._ask("POST", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction", body=eviction)
        assert status == 201, said


@pytest.fixture
async def api():
    await forgotten()
    api = await ClusterApi.open(NAMESPACE, kubeconfig=ADMIN)
    yield api
    for job in (await api.list("Job", "app.kubernetes.io/managed-by=dragoman-launcher"))["items"]:
        await api.delete("Job", job["metadata"]["name"])
    await api.close()
    await forgotten()


async def version_of(registry, model):
    (version,) = (await registry.ListVersions(registry_pb2.ListVersionsRequest(model=model))).versions
    return version, next(file.sha256 for file in version.files if file.path == "weights.safetensors")


async def test_a_job_whose_pod_is_killed_three_times_and_evicted_once_ends_with_the_same_weights(
    tmp_path, eventually, api
):
    write_data(tmp_path / "toy")
    platform = Platform(tmp_path, eventually)
    recipe = RECIPE.replace("@DIGEST", "")

    async def submitted(stub, model):
        request = pb.SubmitJobRequest(request_id=f"train {model}".replace(" ", "-"), model=model, recipe=recipe)
        # Long enough to be taken away four times at a machine's full speed.
        request.overrides["training.epochs"] = "120"
        first, again = await stub.SubmitJob(request), await stub.SubmitJob(request)
        assert (first.created, again.created, again.job.id) == (True, False, first.job.id)
        return first.job

    async with platform.registry_channel() as channel:
        await put(data_pb2_grpc.DataServiceStub(channel), tmp_path / "toy")
        registry = registry_pb2_grpc.RegistryServiceStub(channel)
        async with platform.launcher.launcher() as (process, stub):
            whole = await submitted(stub, "whole")
            assert (await over(stub, whole)).state == pb.JobState.JOB_STATE_SUCCEEDED
            job = await submitted(stub, "killed")
            for number, take_away in enumerate((kill_pod, evict_pod, kill_pod), start=1):
                await says(stub, job, b"checkpoint saved", 2 * number)
                await take_away(api, job)
                await says(stub, job, b"going on from a checkpoint", number)
            (found,) = (await api.list("Job", f"dragoman.dev/job={job.id}"))["items"]
            assert found["status"]["failed"] == 2, "an eviction was counted"
            process.send_signal(signal.SIGKILL)
            await process.wait()
        # Once more, while no launcher looks; the next one finds the job and follows it to its end.
        await kill_pod(api, job)
        async with platform.launcher.launcher() as (_, stub):
            last = await over(stub, job)
            assert last.state == pb.JobState.JOB_STATE_SUCCEEDED, last.message
            log = b"".join([r.data async for r in stub.ReadJobLog(pb.ReadJobLogRequest(id=job.id), timeout=60)])
        assert log.count(b"going on from a checkpoint") == 4
        # The evicted pod had its grace: the one after it, the second that went on, made the very next step.
        stopped_after = [int(step) for step in re.findall(rb"asked to stop, after step (\d+)", log)]
        went_on = [json.loads(line)["step"] for line in log.splitlines() if b"going on from a checkpoint" in line]
        assert went_on[1] in stopped_after
        assert last.progress.metrics["test_accuracy"] > 0.3
        assert last.published_version == 1
        version, weights = await version_of(registry, "killed")
        assert version.lineage.job_id == job.id
        assert weights == (await version_of(registry, "whole"))[1]
