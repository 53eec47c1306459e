# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The runner's contract on a real cluster, where one is given; skipped elsewhere, with the reason.

    DRAGOMAN_TEST_KUBECONFIG=FILE DRAGOMAN_TEST_POD_IMAGE=NAME DRAGOMAN_TEST_NAMESPACE=NAME pytest -m cluster ...

The image needs `sh`, `cat` and `sleep`, and must be there or be pulled; the namespace must exist. Jobs of the
contract's own names are deleted before and after each test.
"""

import asyncio
import os
import time

import pytest

from dragoman_launcher.cluster_api import ClusterApi
from dragoman_launcher.contracts import JobRunnerContract, spec
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.job_objects import JobTerms
from dragoman_launcher.jobs_url import ClusterSettings
from dragoman_launcher.kubernetes_jobs import KubernetesJobRunner
from dragoman_launcher.trainer_environment import Places

KUBECONFIG = os.environ.get("DRAGOMAN_TEST_KUBECONFIG", "")
DEADLINE_S = 180.0
TRAINER = """
trap 'exit 143' TERM
case "$(cat "$DRAGOMAN_TRAINER_RECIPE_FILE")" in
  "run on") while :; do sleep 1 & wait $!; done ;;
  succeed) echo hello ;;
  *) echo hello; exit 1 ;;
esac
"""

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not KUBECONFIG, reason="no cluster: DRAGOMAN_TEST_KUBECONFIG names no kubeconfig"),
]


async def until(condition):
    """Wait for a cluster, which tells nobody when it is ready."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < deadline_s, f"not within {DEADLINE_S:g} s"
        await asyncio.sleep(0.2)


async def cleared(api):
    async def is_gone(name):
        return await api.get("Job", name) is None

    for kind in ("succeed", "fail", "run on"):
        job_id = spec(kind).id
        for name in (job_id, f"{job_id}-stop"):
            await api.delete("Job", name, wait_for_pods=True)
            await until(lambda name=name: is_gone(name))


class TestKubernetesJobRunnerOnACluster(JobRunnerContract):
    deadline_s = DEADLINE_S

    @pytest.fixture
    async def runner(self):
        settings = ClusterSettings(
            namespace=os.environ.get("DRAGOMAN_TEST_NAMESPACE", "default"),
            image=os.environ["DRAGOMAN_TEST_POD_IMAGE"],
            allow_tag=True,
            cpu="50m",
            memory="64Mi",
            scratch="64Mi",
        )
        self.api = await ClusterApi.open(settings.namespace, kubeconfig=KUBECONFIG)
        await cleared(self.api)
        runner = KubernetesJobRunner(
            api=self.api,
            cluster=settings,
            terms=JobTerms(command=("sh", "-c", TRAINER), max_job_s=3600, grace_s=5),
            places=lambda: Places(data_dir="", launcher_target="launcher:1", registry_target="registry:1"),
        )
        await runner.open()
        yield runner
        await cleared(self.api)
        await runner.close()

    async def started(self, runner, kind):
        job = TrainingJob.created(spec(kind, effective_recipe=kind))
        await runner.start(job)
        if kind == "run on":
            await until(lambda: self.is_running(job.id))
        return job

    async def is_running(self, job_id):
        pods = (await self.api.list("Pod", f"dragoman.dev/job={job_id}"))["items"]
        return any(pod["status"]["phase"] == "Running" for pod in pods)
