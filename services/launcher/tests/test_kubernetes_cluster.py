# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The runner's and the store's contracts, logs and the Lease on a real cluster, where one is given; skipped elsewhere.

    DRAGOMAN_TEST_KUBECONFIG=FILE DRAGOMAN_TEST_POD_IMAGE=NAME DRAGOMAN_TEST_NAMESPACE=NAME pytest -m cluster ...

The image needs `sh`, `cat` and `sleep`, and must be there or be pulled; the namespace must exist. Jobs of the
contract's own names are deleted before and after each test, and their records and logs, which the launcher's Role may
not delete, by DRAGOMAN_TEST_ADMIN_KUBECONFIG, else the same one.
"""

import asyncio
import os
import time

import pytest

from dragoman_common.clock import SystemClock
from dragoman_common.errors import UnavailableError
from dragoman_launcher.cluster_api import ClusterApi, RefusedError
from dragoman_launcher.cluster_logs import PART_BYTES, ClusterLog
from dragoman_launcher.cluster_store import ClusterJobStore
from dragoman_launcher.contracts import JobRunnerContract, JobStoreContract, spec
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.job_objects import SELECTOR, JobTerms
from dragoman_launcher.jobs_url import ClusterSettings
from dragoman_launcher.kubernetes_jobs import KubernetesJobRunner
from dragoman_launcher.lease import LEASE, Leadership
from dragoman_launcher.trainer_environment import Places

KUBECONFIG = os.environ.get("DRAGOMAN_TEST_KUBECONFIG", "")
ADMIN = os.environ.get("DRAGOMAN_TEST_ADMIN_KUBECONFIG", KUBECONFIG)
NAMESPACE = os.environ.get("DRAGOMAN_TEST_NAMESPACE", "default")
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
    # A TLS connection that is closed takes a moment more than the test's loop has.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
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
    await forgotten()


async def forgotten():
    """What the launcher itself never deletes."""
    admin = await ClusterApi.open(NAMESPACE, kubeconfig=ADMIN)
    for found in (await admin.list("ConfigMap", SELECTOR))["items"]:
        await admin.delete("ConfigMap", found["metadata"]["name"])
    await admin.delete("Lease", LEASE)
    await admin.close()


class TestKubernetesJobRunnerOnACluster(JobRunnerContract):
    deadline_s = DEADLINE_S

    @pytest.fixture
    async def runner(self):
        settings = ClusterSettings(
            namespace=NAMESPACE,
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


@pytest.fixture
async def api():
    await forgotten()
    api = await ClusterApi.open(NAMESPACE, kubeconfig=KUBECONFIG)
    yield api
    await api.close()
    await forgotten()


class TestClusterJobStoreOnACluster(JobStoreContract):
    @pytest.fixture
    async def store(self, api):
        self.api = api
        return ClusterJobStore(api, SystemClock())

    def reopened(self, store):
        return ClusterJobStore(self.api, SystemClock())


async def test_each_launcher_sees_what_another_one_keeps_on_a_cluster(api):
    here, there = (ClusterJobStore(api, SystemClock()) for _ in range(2))
    seen = asyncio.Queue()
    following = asyncio.create_task(there.follow(seen.put_nowait))
    job = TrainingJob.created(spec())
    await here.create(job.spec)
    await here.append(job.start(job.change_time))
    async with asyncio.timeout(DEADLINE_S):
        while await seen.get() != job.start(job.change_time):
            pass
    following.cancel()


async def test_launchers_that_archive_the_same_log_at_once_keep_each_byte_once_on_a_cluster(api):
    whole = os.urandom(10 * PART_BYTES)

    async def archive(piece_bytes):
        log, at = ClusterLog(api, spec().id, time.monotonic), 0
        while at < len(whole):
            try:
                await log.append("uid-a", at, whole[at : at + piece_bytes])
            except UnavailableError:
                continue
            at += piece_bytes

    await asyncio.gather(*(archive(piece_bytes) for piece_bytes in (100_000, 256_000, 70_000)))

    assert await ClusterLog(api, spec().id, time.monotonic).read(0, 2 * len(whole)) == whole


async def test_one_leads_and_the_next_one_follows_on_a_cluster(api):
    leading, led = [], asyncio.Event()

    async def lead(name):
        leading.append(name)
        led.set()
        await asyncio.Event().wait()

    both = [
        Leadership(api, holder=name, clock=SystemClock(), lead=lambda name=name: lead(name), life_s=3) for name in "ab"
    ]
    running = [asyncio.create_task(one.run()) for one in both]
    async with asyncio.timeout(DEADLINE_S):
        await led.wait()
        led.clear()
        first = 0 if leading == ["a"] else 1
        await both[first].stop()
        await led.wait()
    assert leading == ["ab"[first], "ab"[1 - first]]
    await both[1 - first].stop()
    await asyncio.gather(*running)


@pytest.mark.skipif(ADMIN == KUBECONFIG, reason="the kubeconfig is not the launcher's own")
async def test_the_launcher_s_role_deletes_no_record_and_changes_no_other_lease(api):
    store = ClusterJobStore(api, SystemClock())
    await store.create(spec())
    for work in (
        lambda: api.delete("ConfigMap", f"{spec().id}-record"),
        lambda: api.get("Lease", "another"),
        lambda: api.delete("Lease", LEASE),
    ):
        with pytest.raises((UnavailableError, RefusedError), match="403"):
            await work()
