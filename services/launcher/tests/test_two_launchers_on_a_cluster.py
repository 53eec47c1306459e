# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Two launchers of a real cluster, as processes of this machine; who leads is killed while a pod writes its log.

The environment is test_kubernetes_cluster.py's. The pods are told to call nobody.
"""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from urllib.parse import quote

import pytest

from dragoman.launcher.v1 import launcher_pb2 as pb
from dragoman_launcher.cluster_api import ClusterApi
from dragoman_launcher.job_objects import SELECTOR
from services.launcher.tests.test_kubernetes_cluster import ADMIN, KUBECONFIG, NAMESPACE, forgotten
from services.launcher.tests.test_launcher_process import Home, ended, submit
from services.launcher.tests.test_two_launchers import Pair, log_of

DEADLINE_S = 180.0
NUM_LINES = 60
TRAINER = f"n=0; while [ $n -lt {NUM_LINES} ]; do n=$((n+1)); echo line $n; sleep 0.5; done"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not KUBECONFIG, reason="no cluster: DRAGOMAN_TEST_KUBECONFIG names no kubeconfig"),
]


@pytest.fixture
async def pair(tmp_path, eventually):
    await forgotten()
    homes = []
    query = (
        f"image={quote(os.environ['DRAGOMAN_TEST_POD_IMAGE'])}&allow_tag=true&cpu=50m&memory=64Mi&scratch=64Mi"
        f"&kubeconfig={quote(KUBECONFIG)}"
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cleared)
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            home = Home(tmp_path / name, ("sh", "-c", TRAINER), eventually)
            for variable in ("JOBS_DIR", "DATA_DIR"):
                del home.environ[f"DRAGOMAN_LAUNCHER_{variable}"]
            home.environ |= {
                "DRAGOMAN_LAUNCHER_JOBS_URL": f"kubernetes://{NAMESPACE}?{query}",
                "DRAGOMAN_LAUNCHER_ADVERTISED_TARGET": "launcher.invalid:9000",
            }
            if homes:
                home.keys = homes[0].keys
                for variable in ("KEY_FILE", "TRUST_FILE", "EVENTS_URL"):
                    home.environ[f"DRAGOMAN_LAUNCHER_{variable}"] = homes[0].environ[f"DRAGOMAN_LAUNCHER_{variable}"]
            homes.append(home)
        started = [await stack.enter_async_context(home.launcher()) for home in homes]
        await eventually(
            lambda: any("leads" in (home.folder / "launcher.log").read_text() for home in homes), "one leads"
        )
        yield Pair(homes, started)


async def cleared():
    admin = await ClusterApi.open(NAMESPACE, kubeconfig=ADMIN)
    for job in (await admin.list("Job", SELECTOR))["items"]:
        await admin.delete("Job", job["metadata"]["name"])
    await admin.close()
    await forgotten()


async def test_the_log_of_a_job_whose_launcher_is_killed_is_whole_and_there_once(pair):
    async with asyncio.timeout(DEADLINE_S):
        replies = await asyncio.gather(*(submit(stub) for stub in (pair.led_stub, pair.other_stub)))
        assert sum(reply.created for reply in replies) == 1
        job = replies[0].job
        follow = pair.other_stub.ReadJobLog(pb.ReadJobLogRequest(id=job.id, follow=True), timeout=DEADLINE_S)
        seen = b""
        while b"line 5\n" not in seen:
            seen += (await follow.read()).data
        pair.leader.send_signal(signal.SIGKILL)
        end = await ended(pair.other_stub, job)
    assert end.state == pb.JOB_STATE_SUCCEEDED, end.message
    whole = b"".join(b"line %d\n" % number for number in range(1, NUM_LINES + 1))
    assert await log_of(pair.other_stub, job) == whole
    async for reply in follow:
        seen += reply.data
    assert seen == whole
