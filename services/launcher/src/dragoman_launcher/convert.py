# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Between the wire and the domain. Pure."""

from datetime import datetime, timedelta
from typing import Final

from dragoman.launcher.v1 import launcher_pb2 as pb
from dragoman_common.errors import InvalidArgumentError
from dragoman_launcher.job import JobState, Progress, Publication, TrainingJob

STATE_TO_PB: Final = {state: pb.JobState.Value(f"JOB_STATE_{state.value}") for state in JobState}


def job_to_pb(job: TrainingJob) -> pb.Job:
    message = pb.Job(
        id=job.id,
        tenant=job.spec.tenant,
        request_id=job.spec.request_id,
        model=job.spec.model,
        recipe=job.spec.recipe,
        state=STATE_TO_PB[job.state],
        message=message_of(job),
        submitted_by=job.spec.submitted_by,
    )
    message.create_time.FromDatetime(job.spec.create_time)
    if job.start_time is not None:
        message.start_time.FromDatetime(job.start_time)
    if job.end_time is not None:
        message.end_time.FromDatetime(job.end_time)
    if job.progress is not None:
        message.progress.CopyFrom(progress_to_pb(job.progress))
    if job.publication is not None:
        message.published_version = job.publication.version
        message.published_root_sha256 = job.publication.root_sha256
    return message


def message_of(job: TrainingJob) -> str:
    """What the owner reads: also that a job which still runs has been asked to stop, or what it waits for."""
    if job.cancel_reason is not None and not job.is_ended:
        return f"stopping: {job.cancel_reason}"
    if job.state is JobState.RUNNING and job.progress is not None and job.progress.waits_for:
        return f"waiting: {job.progress.waits_for}"
    return job.message


def progress_to_pb(progress: Progress) -> pb.Progress:
    message = pb.Progress(
        stage=progress.stage,
        epoch=progress.epoch,
        num_epochs=progress.num_epochs,
        step=progress.step,
        num_steps=progress.num_steps,
        metrics=progress.metrics,
    )
    if progress.eta is not None:
        message.eta.FromTimedelta(progress.eta)
    message.report_time.FromDatetime(progress.report_time)
    return message


def progress_from_pb(message: pb.Progress, *, report_time: datetime) -> Progress:
    """What a job reported, at the time when it arrived: a job's own clock is not asked.

    Raises:
        InvalidArgumentError: a value is out of its bounds.
    """
    eta: timedelta | None = None
    if message.HasField("eta"):
        try:
            eta = message.eta.ToTimedelta()
        except (ValueError, OverflowError):
            raise InvalidArgumentError("progress.eta is not a duration.") from None
    return Progress(
        stage=message.stage,
        epoch=message.epoch,
        num_epochs=message.num_epochs,
        step=message.step,
        num_steps=message.num_steps,
        eta=eta,
        metrics=dict(message.metrics),
        report_time=report_time,
    )


def publication_from_pb(request: pb.ReportProgressRequest) -> Publication | None:
    """The version that a job says it published, or None when it says nothing about that.

    Raises:
        InvalidArgumentError: half of it is missing, or has the wrong form.
    """
    if not request.published_version and not request.published_root_sha256:
        return None
    return Publication(version=request.published_version, root_sha256=request.published_root_sha256)
