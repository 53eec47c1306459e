# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What is archived of a pod's log: all that there is room for, seldom written, and how it ends in any case."""

import asyncio
import threading
import time
import zlib
from types import SimpleNamespace

import pytest

from dragoman_launcher import cluster_logs
from dragoman_launcher.cluster_logs import CUT, MAX_BYTES, PART_BYTES, ClusterLog
from dragoman_launcher.cluster_watch import Pulse
from dragoman_launcher.contracts import spec
from dragoman_launcher.job_log import TAIL_BYTES
from dragoman_launcher.pod_archive import GATHER_S, PodArchive

JOB = spec().id
LINES = b"".join(b"step %07d loss 0.%04d\n" % (number, number % 9973) for number in range(80_000))
TRACEBACK = b"Traceback (most recent call last):\nValueError: no such label\n"


def ended_pod(name, code=1):
    labels = {"batch.kubernetes.io/job-completion-index": "0"}
    ended = {"name": "trainer", "state": {"terminated": {"exitCode": code, "reason": "Error"}}}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": labels},
        "status": {"phase": "Failed", "containerStatuses": [ended]},
    }


async def archived(api, cluster, **logs):
    """Archive pods that have ended, one after another, as the launcher does that sees their job's end."""
    pods = []
    for name, text in logs.items():
        pods.append(ended_pod(name))
        cluster.put(pods[-1], "ADDED")
        cluster.write_log(name, text)
    log = ClusterLog(api, JOB, time.monotonic)
    archive = PodArchive(api, log, Pulse(), list)
    assert await archive.finished(pods, asyncio.create_task(archive.run()), patience_s=30)
    return log


def parts(cluster):
    return [found for (kind, name), found in cluster.objects.items() if kind == "ConfigMap" and "-log-" in name]


async def kept(api):
    return await ClusterLog(api, JOB, time.monotonic).read(0, 10 * MAX_BYTES)


async def test_a_log_without_end_takes_a_megabyte_and_its_end(api, cluster):
    text = LINES + TRACEBACK
    assert len(text) > 1.5 * MAX_BYTES

    await archived(api, cluster, a=text)

    whole = await kept(api)
    assert whole == text[: MAX_BYTES - len(CUT)] + CUT + text[-TAIL_BYTES:]
    assert all(len(found["binaryData"]["log.zlib"]) < 90_000 for found in parts(cluster))
    assert len(parts(cluster)) == MAX_BYTES / PART_BYTES + 1


async def test_why_a_job_failed_is_seen_however_long_its_log_and_by_whom(api, cluster):
    log = await archived(api, cluster, a=LINES, b=LINES[:500] + TRACEBACK)
    here, elsewhere = await log.tail(), await ClusterLog(api, JOB, time.monotonic).tail()
    assert here.endswith("ValueError: no such label")
    assert elsewhere == here
    assert (await kept(api)).endswith(CUT + LINES[:500] + TRACEBACK)


async def test_an_end_that_is_kept_in_part_already_is_not_kept_twice(api, cluster):
    text = LINES[:MAX_BYTES] + TRACEBACK
    await archived(api, cluster, a=text)
    assert (await kept(api)).replace(CUT, b"") == text


async def test_the_end_of_a_log_is_kept_once_by_two_that_see_it(api, cluster):
    await archived(api, cluster, a=LINES)
    once = await kept(api)
    await archived(api, cluster, a=b"")
    assert await kept(api) == once


async def test_a_log_that_is_not_cut_gets_no_part_for_its_end(api, cluster):
    log = await archived(api, cluster, a=b"hello\n")
    assert await kept(api) == b"hello\n"
    assert await log.tail() == "hello"


async def test_why_a_job_failed_is_known_where_the_cluster_takes_no_more_of_its_log(api, cluster, caplog):
    cluster.refuse = ("ConfigMap", "exceeded quota: count/configmaps=20000")
    log = await archived(api, cluster, a=LINES + TRACEBACK)
    assert parts(cluster) == []
    assert (await log.tail()).endswith("ValueError: no such label")
    assert "exceeded quota" in caplog.records[0].reason


async def test_parts_are_packed_and_unpacked_beside_the_event_loop(api, cluster, monkeypatch):
    threads = []

    def noting(work):
        def noted(*args):
            threads.append(threading.current_thread())
            return work(*args)

        return noted

    here = SimpleNamespace(compress=noting(zlib.compress), decompressobj=noting(zlib.decompressobj), error=zlib.error)
    monkeypatch.setattr(cluster_logs, "zlib", here)
    log = ClusterLog(api, JOB, time.monotonic)
    await log.append("uid-a", 0, b"one\n")
    await log.append("uid-a", 4, b"two\n")
    await log.append("uid-b", 0, b"three\n")
    assert await log.kept("uid-b") == 6
    assert await kept(api) == b"one\ntwo\nthree\n"
    assert len(threads) >= 6
    assert threading.main_thread() not in threads


class Chatter:
    """A pod that says something ten times a second, and where it is kept."""

    def __init__(self, num_lines):
        self.num_lines = num_lines
        self.times_s = []
        self.said = b""

    async def log(self, _pod, _container):
        for number in range(self.num_lines):
            await asyncio.sleep(0.1)
            yield b"%d\n" % number

    async def get(self, _kind, name):
        return ended_pod(name, 0)

    async def kept(self, _pod):
        return 0

    async def append(self, _pod, at, data):
        assert at == len(self.said)
        self.said += data
        self.times_s.append(asyncio.get_running_loop().time())

    async def finish(self, _pod, at, data):
        assert self.said[at:] == data


@pytest.mark.looptime
async def test_a_pod_that_logs_all_the_time_is_written_every_five_seconds_and_at_once_when_it_ends():
    pod = Chatter(num_lines=123)
    began_s = asyncio.get_running_loop().time()
    archive = PodArchive(pod, pod, Pulse(), list)
    assert await archive.finished([ended_pod("a", 0)], asyncio.create_task(archive.run()), patience_s=60)
    assert pod.said == b"".join(b"%d\n" % number for number in range(123))
    assert len(pod.times_s) == 3
    assert pod.times_s[1] - pod.times_s[0] >= GATHER_S
    assert pod.times_s[-1] - began_s == pytest.approx(12.3)
