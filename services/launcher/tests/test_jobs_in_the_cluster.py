# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Records and logs in the cluster: the store's contract, and writers that do not know of each other."""

import asyncio
import random
import time

import pytest

from dragoman_common.errors import AbortedError, UnavailableError
from dragoman_common.testing import FakeClock
from dragoman_launcher import cluster_logs
from dragoman_launcher.cluster_logs import CUT, ClusterLog
from dragoman_launcher.cluster_store import ClusterJobStore
from dragoman_launcher.contracts import NOW, JobStoreContract, spec
from dragoman_launcher.job import Progress, TrainingJob
from dragoman_launcher.job_record import CorruptJobError

JOB = spec().id


class TestClusterJobStore(JobStoreContract):
    @pytest.fixture
    async def store(self, api):
        self.api = api
        return ClusterJobStore(api, FakeClock())

    def reopened(self, store):
        return ClusterJobStore(self.api, FakeClock())


async def test_each_launcher_sees_what_another_one_keeps(api, eventually):
    here, there = (ClusterJobStore(api, FakeClock()) for _ in range(2))
    seen = []
    following = asyncio.create_task(there.follow(seen.append))
    job = TrainingJob.created(spec())
    await here.create(job.spec)
    await eventually(lambda: seen == [job], "it is seen")

    await here.append(job.start(NOW))
    await here.announced(job.id, 1)

    await eventually(lambda: len(seen) == 3, "its change, and that it was announced")
    assert seen[-1] == job.start(NOW)
    assert await there.announced(job.id) == 1
    following.cancel()


async def test_of_sixteen_that_write_the_same_change_one_is_told_that_it_counts(api, cluster):
    stores = [ClusterJobStore(api, FakeClock()) for _ in range(16)]
    job = TrainingJob.created(spec())
    await stores[0].create(job.spec)

    ends = await asyncio.gather(
        *(store.append(job.cancel(NOW, f"by {n}")) for n, store in enumerate(stores)), return_exceptions=True
    )

    assert ends.count(None) == 1
    assert {type(end) for end in ends} == {type(None), AbortedError}
    assert (await stores[0].load(job.id)).message == f"by {ends.index(None)}"


async def test_a_progress_that_is_older_replaces_none(api):
    here, there = (ClusterJobStore(api, FakeClock()) for _ in range(2))
    job = TrainingJob.created(spec()).start(NOW)
    await here.create(job.spec)
    await here.append(job)
    new, old = (
        job.with_progress(Progress(stage="train", step=step, report_time=NOW.replace(second=step))) for step in (9, 8)
    )
    await here.keep_progress(new)
    await there.keep_progress(old)
    await there.append(old.succeed(NOW))
    assert (await here.load(job.id)).progress == new.progress


async def test_progress_is_written_seldom_and_a_new_stage_at_once(api, cluster):
    clock = FakeClock()
    store = ClusterJobStore(api, clock)
    job = TrainingJob.created(spec()).start(NOW)
    await store.create(job.spec)
    await store.append(job)
    before = cluster.calls.count(("PUT", "ConfigMap", False))
    for step in range(10):
        await store.keep_progress(job.with_progress(Progress(stage="train", step=step, report_time=clock.now())))
    await store.keep_progress(job.with_progress(Progress(stage="evaluate", report_time=clock.now())))
    assert cluster.calls.count(("PUT", "ConfigMap", False)) - before == 2


async def test_what_a_job_waits_for_is_written_at_once_and_again_when_the_cluster_did_not_take_it(api, cluster):
    store = ClusterJobStore(api, FakeClock())
    job = TrainingJob.created(spec()).start(NOW)
    await store.create(job.spec)
    await store.append(job)
    for waits_for in ("a node", "an image", ""):
        await store.keep_progress(job.waiting(waits_for))
        kept = await ClusterJobStore(api, FakeClock()).load(job.id)
        assert kept.progress == Progress(report_time=NOW, waits_for=waits_for)

    cluster.num_unavailable = 1
    with pytest.raises(UnavailableError):
        await store.keep_progress(job.waiting("a GPU"))
    cluster.num_unavailable = 0
    await store.keep_progress(job.waiting("a GPU"))

    assert (await store.load(job.id)).progress.waits_for == "a GPU"
    # An earlier launcher refuses a progress that has a key more, and so the job.
    assert "waits_for" not in cluster.named("ConfigMap", f"{JOB}-record")["data"]["progress.json"]


async def test_a_report_at_another_launcher_ends_the_wait(api):
    here, there = (ClusterJobStore(api, FakeClock()) for _ in range(2))
    job = TrainingJob.created(spec()).start(NOW)
    await here.create(job.spec)
    await here.append(job)
    await here.keep_progress(job.waiting("a node"))

    report = Progress(stage="train", step=1, report_time=NOW.replace(second=1))
    await there.keep_progress(job.with_progress(report))
    assert (await here.load(job.id)).progress == report

    # Of a launcher that has not heard of the report yet.
    await here.keep_progress(job.waiting("an image"))
    assert (await here.load(job.id)).progress == report


@pytest.mark.parametrize("damage", ["take", "gap", "other"])
async def test_a_record_that_somebody_spoilt_is_left_out(api, cluster, damage):
    store = ClusterJobStore(api, FakeClock())
    job = TrainingJob.created(spec()).start(NOW)
    await store.create(job.spec)
    await store.append(job)
    data = cluster.named("ConfigMap", f"{JOB}-record")["data"]
    if damage == "take":
        del data["job.json"]
    elif damage == "gap":
        data["000003.json"] = data.pop("000001.json")
    else:
        data["job.json"] = data["job.json"].replace("acme", "bolt")
    with pytest.raises(CorruptJobError):
        await store.load(JOB)
    assert await store.load_all() == []


async def test_a_cluster_that_takes_no_record_makes_no_job(api, cluster):
    cluster.refuse = ("ConfigMap", "exceeded quota: configmaps=10")
    with pytest.raises(UnavailableError, match="exceeded quota"):
        await ClusterJobStore(api, FakeClock()).create(spec())


async def test_a_log_is_read_as_it_was_written_from_any_place(api, monkeypatch):
    monkeypatch.setattr(cluster_logs, "PART_BYTES", 100)
    draw = random.Random(3)
    log, whole = ClusterLog(api, JOB, time.monotonic), b""
    for pod in ("uid-a", "uid-b"):
        at = 0
        for _ in range(6):
            piece = draw.randbytes(draw.randrange(1, 150))
            await log.append(pod, at, piece)
            at, whole = at + len(piece), whole + piece
        assert await log.kept(pod) == at
    reader = ClusterLog(api, JOB, time.monotonic)
    assert await reader.num_bytes() == len(whole)
    for _ in range(50):
        offset, length = draw.randrange(len(whole) + 20), draw.randrange(1, 300)
        assert await reader.read(offset, length) == whole[offset : offset + length]


async def test_launchers_that_archive_the_same_log_at_once_keep_each_byte_once(api, monkeypatch):
    monkeypatch.setattr(cluster_logs, "PART_BYTES", 64)
    whole = bytes(random.Random(4).randbytes(900))

    async def archive(seed):
        draw, log, at = random.Random(seed), ClusterLog(api, JOB, time.monotonic), 0
        while at < len(whole):
            piece = whole[at : at + draw.randrange(1, 90)]
            # A try that others overtake too often is made again, as an archive does.
            try:
                await log.append("uid-a", at, piece)
            except UnavailableError:
                continue
            at += len(piece)

    await asyncio.gather(*(archive(seed) for seed in range(4)))

    assert await ClusterLog(api, JOB, time.monotonic).read(0, 2000) == whole


async def test_a_reader_sees_what_is_written_while_it_reads(api):
    writer, reader = (ClusterLog(api, JOB, time.monotonic) for _ in range(2))
    assert await reader.read(0, 100) == b""
    await writer.append("uid-a", 0, b"one\n")
    assert await reader.read(0, 100) == b"one\n"
    await writer.append("uid-a", 4, b"two\n")
    assert await reader.read(4, 100) == b"two\n"
    assert await reader.tail() == "one\ntwo"


async def test_a_log_that_is_too_long_says_where_it_was_cut(api, monkeypatch):
    monkeypatch.setattr(cluster_logs, "PART_BYTES", 100)
    monkeypatch.setattr(cluster_logs, "MAX_BYTES", 500)
    log = ClusterLog(api, JOB, time.monotonic)
    for number in range(100):
        await log.append("uid-a", number * 20, b"%019d\n" % number)
    kept = await log.read(0, 10_000)
    assert kept.endswith(CUT)
    assert len(kept) <= 500 + len(CUT)
