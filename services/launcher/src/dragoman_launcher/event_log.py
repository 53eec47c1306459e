# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Announces jobs in the event log, topic dragoman.jobs: the port JobEvents. The event's id is job and change number."""

import asyncio

from dragoman.events.v1 import events_pb2 as pb
from dragoman_events import topics
from dragoman_events.cloud_event import CloudEvent
from dragoman_events.message_event import event_of
from dragoman_events.ports import EventLog
from dragoman_launcher.job import TrainingJob

SOURCE = "dragoman/launcher"


class EventLogJobEvents:
    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def announce(self, job: TrainingJob) -> None:
        key = topics.message_key(job.spec.tenant, job.id)
        await asyncio.to_thread(self._log.append, topics.JOBS, key, [job_changed(job)])


def job_changed(job: TrainingJob) -> CloudEvent:
    """The event that says what became of a job. Without its message's log lines: events hold nobody's text."""
    message = pb.JobChanged(
        tenant=job.spec.tenant,
        job_id=job.id,
        model=job.spec.model,
        state=job.state.value,
        message=job.message.partition("\n")[0],
        published_version=job.publication.version if job.publication else 0,
    )
    message.change_time.FromDatetime(job.change_time)
    return event_of(
        message,
        source=SOURCE,
        subject=job.id,
        event_id=f"{job.id}/{job.sequence}",
        time=job.change_time,
        extensions={"tenant": job.spec.tenant, "modelid": job.spec.model},
    )
