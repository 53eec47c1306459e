# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The state machine: whatever is called in whatever order, a job only ever moves along the arrows and stays ended."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dragoman_common.errors import InvalidArgumentError
from dragoman_launcher.contracts import spec
from dragoman_launcher.job import (
    NEXT,
    IllegalMoveError,
    JobState,
    Progress,
    Publication,
    TrainingJob,
    is_job_id,
    job_id,
)
from dragoman_launcher.job_record import change_to_json, progress_to_json, restore

START = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = "a" * 64


class JobLife(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.job = TrainingJob.created(spec())
        self.history = [self.job]

    def move(self, change):
        now = START + timedelta(seconds=len(self.history))
        before = self.job
        try:
            self.job = change(before, now)
        except IllegalMoveError:
            assert self.job is before
        if self.job.sequence != before.sequence:
            self.history.append(self.job)

    @rule()
    def start(self):
        self.move(lambda job, now: job.start(now))

    @rule(version=st.none() | st.integers(1, 3))
    def succeed(self, version):
        publication = None if version is None else Publication(version=version, root_sha256=ROOT)
        self.move(lambda job, now: job.succeed(now, publication))

    @rule(message=st.text(max_size=5000))
    def fail(self, message):
        self.move(lambda job, now: job.fail(now, message))

    @rule(message=st.text(max_size=50))
    def cancel(self, message):
        self.move(lambda job, now: job.cancel(now, message))

    @rule(reason=st.text(max_size=50))
    def request_cancel(self, reason):
        self.move(lambda job, now: job.request_cancel(now, reason))

    @rule(version=st.integers(1, 3))
    def publish(self, version):
        self.move(lambda job, now: job.publish(now, Publication(version=version, root_sha256=ROOT)))

    @rule(step=st.integers(0, 9))
    def progress(self, step):
        self.move(lambda job, now: job.with_progress(Progress(step=step, report_time=now)))

    @invariant()
    def moves_follow_the_arrows(self):
        for before, after in zip(self.history, self.history[1:], strict=False):
            assert after.state is before.state or after.state in NEXT[before.state]
            assert not before.is_ended
            assert after.sequence == before.sequence + 1

    @invariant()
    def times_say_what_the_state_says(self):
        assert self.job.is_ended == (self.job.end_time is not None)
        if self.job.state in (JobState.RUNNING, JobState.SUCCEEDED):
            assert self.job.start_time is not None

    @invariant()
    def the_first_publication_stands(self):
        known = [job.publication for job in self.history if job.publication is not None]
        assert len(set(known)) <= 1

    @invariant()
    def what_is_stored_gives_the_job_back(self):
        progress = None if self.job.progress is None else progress_to_json(self.job.progress)
        assert restore(self.job.spec, [change_to_json(job) for job in self.history[1:]], progress) == self.job


TestJobLife = JobLife.TestCase
TestJobLife.settings = settings(max_examples=60, stateful_step_count=12, deadline=None, derandomize=True)


def test_a_failed_job_stays_failed():
    failed = TrainingJob.created(spec()).start(START).fail(START, "no luck")

    for move in (
        lambda: failed.start(START),
        lambda: failed.succeed(START),
        lambda: failed.cancel(START, ""),
        lambda: failed.fail(START, "again"),
    ):
        with pytest.raises(IllegalMoveError, match="FAILED"):
            move()
    assert failed.request_cancel(START, "late") is failed


def test_the_first_cancel_reason_stands():
    job = TrainingJob.created(spec()).start(START).request_cancel(START, "first")

    assert job.request_cancel(START, "second") is job


@given(st.text(), st.text(), st.text(), st.text())
@settings(derandomize=True)
def test_ids_are_path_safe_and_differ_for_different_requests(tenant, request_id, other_tenant, other_request_id):
    first, second = job_id(tenant, request_id), job_id(other_tenant, other_request_id)

    assert is_job_id(first)
    assert (first == second) == ((tenant, request_id) == (other_tenant, other_request_id))


def test_moving_a_character_between_tenant_and_request_id_gives_another_job():
    assert job_id("a", "bc") != job_id("ab", "c")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"stage": "x" * 65}, "progress.stage"),
        ({"epoch": -1}, "progress.epoch"),
        ({"num_steps": -1}, "progress.num_steps"),
        ({"eta": timedelta(seconds=-1)}, "progress.eta"),
        ({"metrics": {str(n): 0.0 for n in range(65)}}, "progress.metrics"),
        ({"metrics": {"": 0.0}}, "progress.metrics"),
    ],
)
def test_progress_out_of_bounds_is_refused_by_name(values, named):
    with pytest.raises(InvalidArgumentError, match=named):
        Progress(report_time=START, **values)


@pytest.mark.parametrize(("version", "root"), [(0, ROOT), (1, "A" * 64), (1, "a" * 63), (1, "")])
def test_a_publication_needs_a_version_and_a_digest(version, root):
    with pytest.raises(InvalidArgumentError, match="published_"):
        Publication(version=version, root_sha256=root)
