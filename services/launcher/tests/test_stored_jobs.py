# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What lies on disk: strict reading, nothing half-written, a full disk."""

import json
import resource
import shutil

import pytest

from dragoman_common.errors import FailedPreconditionError, UnavailableError
from dragoman_launcher.contracts import NOW, spec
from dragoman_launcher.folder_store import FolderJobStore
from dragoman_launcher.job import Progress, TrainingJob, job_id
from dragoman_launcher.job_folder import JobFolder
from dragoman_launcher.job_record import CorruptJobError


@pytest.fixture
def jobs(tmp_path):
    return tmp_path


@pytest.fixture
async def store(jobs):
    store = FolderJobStore(jobs)
    job = TrainingJob.created(spec()).start(NOW)
    await store.create(job.spec)
    await store.append(job)
    await store.keep_progress(job.with_progress(Progress(stage="train", report_time=NOW)))
    await store.append(job.fail(NOW, "boom"))
    return store


def edit(path, **changes):
    values = json.loads(path.read_bytes())
    for key, value in changes.items():
        if value is ...:
            del values[key]
        else:
            values[key] = value
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("job.json", {"format": "dragoman.job/2"}),
        ("job.json", {"surprise": 1}),
        ("job.json", {"model": ...}),
        ("job.json", {"model": 7}),
        ("job.json", {"tenant": "bolt"}),
        ("job.json", {"id": job_id("bolt", "r1")}),
        ("job.json", {"create_time": "yesterday"}),
        ("job.json", {"create_time": "2026-01-01T00:00:00"}),
        ("job.json", {"overrides": {"a": 1}}),
        ("changes/000001.json", {"state": "DREAMING"}),
        ("changes/000001.json", {"state": "SUCCEEDED"}),
        ("changes/000001.json", {"sequence": 2}),
        ("changes/000001.json", {"sequence": True}),
        ("changes/000002.json", {"state": "PENDING"}),
        ("changes/000002.json", {"published_version": 0}),
        ("changes/000002.json", {"published_version": 1}),
        ("progress.json", {"metrics": {"loss": "low"}}),
        ("progress.json", {"epoch": -1}),
    ],
)
async def test_a_file_that_is_not_as_we_wrote_it_is_data_loss(store, jobs, file, changes):
    edit(JobFolder.of(jobs, spec().id).path / file, **changes)

    with pytest.raises(CorruptJobError):
        await store.load(spec().id)
    assert await store.load_all() == []


@pytest.mark.parametrize("file", ["job.json", "changes/000001.json", "changes/000002.json", "progress.json"])
async def test_every_truncation_of_a_file_is_data_loss(store, jobs, file):
    path = JobFolder.of(jobs, spec().id).path / file
    whole = path.read_bytes()

    for size in range(0, len(whole.rstrip()), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptJobError):
            await store.load(spec().id)


async def test_a_change_that_was_taken_away_is_noticed(store, jobs):
    JobFolder.of(jobs, spec().id).change(1).unlink()

    with pytest.raises(CorruptJobError, match="missing"):
        await store.load(spec().id)


async def test_a_change_after_the_end_is_data_loss(store, jobs):
    folder = JobFolder.of(jobs, spec().id)
    shutil.copy(folder.change(2), folder.change(3))
    edit(folder.change(3), sequence=3)

    with pytest.raises(CorruptJobError):
        await store.load(spec().id)


async def test_a_corrupt_job_hides_no_other(store, jobs):
    await store.create(spec("r2"))
    (JobFolder.of(jobs, spec().id).record).write_text("{")

    assert [job.spec.request_id for job in await store.load_all()] == ["r2"]


async def test_what_a_crash_leaves_behind_is_not_a_job_and_does_not_block_one(jobs):
    folder = JobFolder.of(jobs, spec().id)
    folder.make(folder.changes)
    (folder.path / ".job.json.0123.tmp").write_text('{"format": "dragoman.job/1", "te')
    (jobs / "lost+found").mkdir()
    store = FolderJobStore(jobs)

    assert await store.load_all() == []
    assert await store.load(spec().id) is None
    assert await store.create(spec())
    assert await store.load(spec().id) == TrainingJob.created(spec())


@pytest.mark.parametrize("limit", [0, 1, 100])
async def test_a_full_disk_refuses_the_job_and_leaves_none(jobs, limit):
    store = FolderJobStore(jobs)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses to let any file grow beyond the limit: a real short write in the middle of the record.
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(UnavailableError, match="job store"):
            await store.create(spec())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert await store.load_all() == []
    assert not list(JobFolder.of(jobs, spec().id).path.glob("*.json"))
    assert await store.create(spec())


async def test_one_launcher_at_a_time_works_on_a_folder(tmp_path):
    first = FolderJobStore(tmp_path / "jobs").lock()
    with pytest.raises(FailedPreconditionError, match="Another launcher"):
        FolderJobStore(tmp_path / "jobs").lock()

    first.close()

    FolderJobStore(tmp_path / "jobs").lock().close()


@pytest.mark.parametrize("text", ["../x", "job-", "job-" + "g" * 32, "", "job-" + "a" * 33])
def test_only_ids_that_we_minted_become_paths(jobs, text):
    with pytest.raises(ValueError, match="not an id"):
        JobFolder.of(jobs, text)


async def test_a_diverged_metric_is_kept(jobs):
    store = FolderJobStore(jobs)
    job = TrainingJob.created(spec()).start(NOW)
    await store.create(job.spec)
    await store.append(job)

    await store.keep_progress(job.with_progress(Progress(metrics={"train_loss": float("inf")}, report_time=NOW)))

    kept = await store.load(job.id)
    assert kept.progress.metrics == {"train_loss": float("inf")}
