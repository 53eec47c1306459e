# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Jobs in the cluster: the port JobStore on ConfigMaps, one a job, for launchers that share nothing else.

    create -> POST <id>-record: one racer wins      append -> key <n>.json, if absent -> PUT at the version read
    load   -> job.json + <n>.json in order + progress.json, waits_for     follow -> every launcher sees every change

No key that was written is written again, but for progress and announcements; the API server refuses a PUT at another
version, so of two that write the same number one is told so. Nothing here is deleted: a record outlives its Job.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from dragoman_common.clock import Clock
from dragoman_common.errors import AbortedError, UnavailableError
from dragoman_launcher.cluster_api import ClusterApi, RefusedError
from dragoman_launcher.cluster_watch import ClusterWatch, Pulse
from dragoman_launcher.job import JobSpec, TrainingJob
from dragoman_launcher.job_objects import JOB_LABEL, MANAGED, ROLE_LABEL, SELECTOR, Manifest
from dragoman_launcher.job_record import (
    CorruptJobError,
    change_to_json,
    progress_to_json,
    record_from_json,
    record_to_json,
    restore,
)

SUFFIX: Final = "-record"
RECORDS: Final = f"{SELECTOR},{ROLE_LABEL}=record"
PROGRESS_INTERVAL_S: Final = 2.0
"""How often a stage's progress is written: a job may report twice a second, and each write costs the cluster."""
MAX_TRIES: Final = 8

_RECORD: Final = "job.json"
_PROGRESS: Final = "progress.json"
_WAITS_FOR: Final = "waits_for"
"""Not in progress.json: a launcher of an earlier version, beside this one or after it, refuses a key that it does not
know there, and with it the job; here it passes over it."""
_ANNOUNCED: Final = "announced"
_CHANGE: Final = re.compile(r"[0-9]{6}\.json")

logger = logging.getLogger(__name__)


class ClusterJobStore:
    """Keeps jobs in a namespace.

    Args:
        api: the cluster.
        clock: ours.
    """

    def __init__(self, api: ClusterApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._announced: dict[str, int] = {}
        self._progress_kept: dict[str, tuple[tuple[str, str], float]] = {}

    async def follow(self, see: Callable[[TrainingJob], None]) -> None:
        """Tell of each job as it is, and again after each change, whoever made it; until cancelled."""

        def read(manifest: Manifest) -> None:
            job = self._read(manifest)
            if job is not None:
                see(job)

        await ClusterWatch(self._api, "ConfigMap", RECORDS, Pulse(), lambda _gone: None, on_seen=read).run()

    async def create(self, spec: JobSpec) -> bool:
        labels = MANAGED | {JOB_LABEL: spec.id, ROLE_LABEL: "record"}
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": spec.id + SUFFIX, "labels": labels},
            "data": {_RECORD: record_to_json(spec).decode()},
        }
        try:
            return await self._api.create(manifest)
        except RefusedError as error:
            raise _refused(error) from error

    async def load(self, job_id: str) -> TrainingJob | None:
        found = await self._api.get("ConfigMap", job_id + SUFFIX)
        return None if found is None else _restored(found)

    async def load_all(self) -> list[TrainingJob]:
        found = (await self._api.list("ConfigMap", RECORDS)).get("items") or []
        jobs = [job for manifest in found if (job := self._read(manifest)) is not None]
        return sorted(jobs, key=lambda job: (job.spec.create_time, job.id))

    async def append(self, job: TrainingJob) -> None:
        key = f"{job.sequence:06d}.json"

        def changed(data: Mapping[str, str]) -> Mapping[str, str]:
            if key in data or len(_changes(data)) != job.sequence - 1:
                raise AbortedError(f"Job {job.id} has been changed by somebody else; read it again.")
            return {key: change_to_json(job).decode(), **_newer_progress(job, data)}

        await self._edit(job.id, changed)

    async def keep_progress(self, job: TrainingJob) -> None:
        if job.progress is None:
            return
        phase = (job.progress.stage, job.progress.waits_for)
        kept, kept_s = self._progress_kept.get(job.id, (None, float("-inf")))
        now_s = self._clock.monotonic_s()
        if phase == kept and now_s - kept_s < PROGRESS_INTERVAL_S:
            # The next one, or the next change, carries it.
            return
        await self._edit(job.id, lambda data: _newer_progress(job, data))
        # Afterwards: one that the cluster did not take is written when it is kept again.
        self._progress_kept[job.id] = (phase, now_s)

    async def announced(self, job_id: str, sequence: int | None = None) -> int:
        """As the port says; what another launcher announces is known when `follow` has seen it."""
        if sequence is not None:
            await self._edit(job_id, lambda _data: {_ANNOUNCED: str(sequence)})
            self._announced[job_id] = sequence
        elif job_id not in self._announced:
            found = await self._api.get("ConfigMap", job_id + SUFFIX)
            self._note_announced(job_id, {} if found is None else found.get("data") or {})
        return self._announced[job_id]

    async def _edit(self, job_id: str, change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
        for _ in range(MAX_TRIES):
            found = await self._api.get("ConfigMap", job_id + SUFFIX)
            if found is None:
                raise UnavailableError(f"The record of job {job_id} is not in the cluster.")
            more = change(found.get("data") or {})
            if not more:
                return
            changed = {"apiVersion": "v1", "kind": "ConfigMap", **found, "data": {**found["data"], **more}}
            try:
                if await self._api.replace(changed):
                    return
            except RefusedError as error:
                raise _refused(error) from error
        raise UnavailableError(f"The record of job {job_id} is changed by others all the time; try again.")

    def _read(self, manifest: Manifest) -> TrainingJob | None:
        try:
            job = _restored(manifest)
        except CorruptJobError as error:
            logger.error("job left out", extra={"job": manifest["metadata"]["name"], "reason": error.message})  # noqa: TRY400  said in full
            return None
        self._note_announced(job.id, manifest.get("data") or {})
        return job

    def _note_announced(self, job_id: str, data: Mapping[str, str]) -> None:
        text = data.get(_ANNOUNCED, "")
        # Whatever is not a number was not written by us; announcing again is harmless.
        number = int(text) if text.isascii() and text.isdecimal() else -1
        self._announced[job_id] = max(number, self._announced.get(job_id, -1))


def _restored(manifest: Manifest) -> TrainingJob:
    data: dict[str, str] = manifest.get("data") or {}
    job_id = str(manifest["metadata"]["name"]).removesuffix(SUFFIX)
    numbers = _changes(data)
    if numbers != [f"{number:06d}.json" for number in range(1, len(numbers) + 1)]:
        raise CorruptJobError(f"The job {job_id} cannot be read: a change is missing.")
    if _RECORD not in data:
        raise CorruptJobError(f"The job {job_id} cannot be read: its record is missing.")
    progress = data.get(_PROGRESS)
    job = restore(
        record_from_json(data[_RECORD].encode(), job_id=job_id),
        [data[number].encode() for number in numbers],
        None if progress is None else progress.encode(),
    )
    waits_for = data.get(_WAITS_FOR, "")
    if job.progress is None or not waits_for:
        return job
    return replace(job, progress=replace(job.progress, waits_for=waits_for))


def _changes(data: Mapping[str, str]) -> list[str]:
    return sorted(key for key in data if _CHANGE.fullmatch(key))


def _newer_progress(job: TrainingJob, data: Mapping[str, str]) -> Mapping[str, str]:
    """The job's progress, unless another launcher has heard a newer one."""
    if job.progress is None:
        return {}
    if _PROGRESS in data:
        kept = restore(job.spec, [], data[_PROGRESS].encode()).progress
        if kept is not None and kept.report_time > job.progress.report_time:
            return {}
    newer = {_PROGRESS: progress_to_json(job.progress).decode(), _WAITS_FOR: job.progress.waits_for}
    return {key: value for key, value in newer.items() if value != data.get(key, "")}


def _refused(error: RefusedError) -> UnavailableError:
    return UnavailableError(f"The cluster does not take the job's record ({error}).")
