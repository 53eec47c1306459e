# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The converters: every field crosses the wire and comes back."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.launcher.v1 import launcher_pb2 as pb
from dragoman_common.errors import InvalidArgumentError
from dragoman_launcher.contracts import NOW, spec
from dragoman_launcher.convert import STATE_TO_PB, job_to_pb, progress_from_pb, progress_to_pb, publication_from_pb
from dragoman_launcher.event_log import job_changed
from dragoman_launcher.job import JobState, Progress, Publication, TrainingJob

LATER = NOW + timedelta(seconds=5)
COUNTS = st.integers(0, 2**31 - 1)


@given(
    st.builds(
        Progress,
        stage=st.text(max_size=64).filter(lambda text: text < "\ud800" or text.isascii()),
        epoch=COUNTS,
        num_epochs=COUNTS,
        step=st.integers(0, 2**62),
        num_steps=st.integers(0, 2**62),
        eta=st.none() | st.timedeltas(timedelta(0), timedelta(days=3650)),
        metrics=st.dictionaries(st.sampled_from(["train_loss", "dev_accuracy"]), st.floats(allow_nan=False)),
        report_time=st.just(datetime(2026, 1, 2, tzinfo=UTC)),
    )
)
@settings(derandomize=True, deadline=None)
def test_progress_comes_back(progress):
    assert progress_from_pb(progress_to_pb(progress), report_time=progress.report_time) == progress


def test_every_state_has_its_own_number():
    assert len(set(STATE_TO_PB.values())) == len(JobState) == len(pb.JobState.values()) - 1


def test_a_job_is_shown_with_all_its_fields():
    job = TrainingJob.created(spec()).start(NOW).with_progress(Progress(stage="train", report_time=NOW))
    job = job.publish(NOW, Publication(version=3, root_sha256="a" * 64)).fail(LATER, "boom")

    message = job_to_pb(job)

    assert {field.name for field, _ in message.ListFields()} == {field.name for field in pb.Job.DESCRIPTOR.fields}
    assert message.end_time.ToDatetime(UTC) == LATER


def test_a_running_job_that_was_asked_to_stop_says_so():
    job = TrainingJob.created(spec()).start(NOW).request_cancel(NOW, "enough")

    assert job_to_pb(job).message == "stopping: enough"


def test_an_eta_that_is_no_duration_is_refused():
    message = pb.Progress()
    message.eta.seconds = 2**60

    with pytest.raises(InvalidArgumentError, match=r"progress\.eta"):
        progress_from_pb(message, report_time=NOW)


@pytest.mark.parametrize(("version", "root"), [(1, ""), (0, "a" * 64), (-1, "a" * 64)])
def test_half_a_publication_is_refused(version, root):
    with pytest.raises(InvalidArgumentError, match="published_"):
        publication_from_pb(pb.ReportProgressRequest(published_version=version, published_root_sha256=root))


def test_an_event_names_the_job_and_its_change_and_holds_no_log():
    job = TrainingJob.created(spec()).start(NOW).fail(LATER, "It failed. Its last lines:\nsecret text of a user")

    event = job_changed(job)

    assert (event.id, event.subject, event.time) == (f"{job.id}/2", job.id, LATER)
    assert b"secret" not in event.data
