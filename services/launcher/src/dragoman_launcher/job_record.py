# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What is stored of a job, as JSON: the record (once), its changes (appended, numbered from 1), the newest progress.

    JobSpec --record_to_json--> job.json                    create-only
    TrainingJob n --change_to_json--> changes/<n>.json      create-only, each holds all that can change
    Progress --progress_to_json--> progress.json            replaced
    job.json + changes 1..n + progress.json --restore--> TrainingJob

Reading is strict: an unknown or missing key, a wrong type, a gap in the numbers, a change that the state machine does
not allow, or a record that lies under another id is DATA_LOSS. Owns no files. What a job waits for is
no part of it: it is true only now, and a launcher of an earlier version would refuse the key.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from dragoman_common.errors import DataLossError, DragomanError
from dragoman_launcher.job import NEXT, JobSpec, JobState, Progress, Publication, TrainingJob

RECORD_FORMAT: Final = "dragoman.job/1"
CHANGE_FORMAT: Final = "dragoman.job-change/1"
PROGRESS_FORMAT: Final = "dragoman.job-progress/1"


class CorruptJobError(DataLossError):
    """A stored job does not read as what we write."""


def record_to_json(spec: JobSpec) -> bytes:
    return _dump(
        {
            "format": RECORD_FORMAT,
            "id": spec.id,
            "tenant": spec.tenant,
            "request_id": spec.request_id,
            "model": spec.model,
            "recipe": spec.recipe,
            "overrides": dict(spec.overrides),
            "effective_recipe": spec.effective_recipe,
            "submitted_by": spec.submitted_by,
            "create_time": spec.create_time.isoformat(),
        }
    )


def record_from_json(data: bytes, *, job_id: str) -> JobSpec:
    """Read a record back.

    Args:
        data: the file's bytes.
        job_id: the id under which it was found.

    Raises:
        CorruptJobError: as the module says.
    """
    fields = _Fields(data, RECORD_FORMAT, f"record of {job_id}")
    found_id = fields.text("id")
    overrides = fields.take("overrides", dict)
    if not all(isinstance(value, str) for value in overrides.values()):
        raise fields.corrupt("overrides must be texts")
    spec = JobSpec(
        tenant=fields.text("tenant"),
        request_id=fields.text("request_id"),
        model=fields.text("model"),
        recipe=fields.text("recipe"),
        overrides=overrides,
        effective_recipe=fields.text("effective_recipe"),
        submitted_by=fields.text("submitted_by"),
        create_time=fields.time("create_time"),
    )
    fields.finish()
    # A record moved to another folder would otherwise answer for another tenant's request.
    if not spec.id == found_id == job_id:
        raise fields.corrupt("its tenant and request id do not give its id")
    return spec


def change_to_json(job: TrainingJob) -> bytes:
    publication = job.publication
    return _dump(
        {
            "format": CHANGE_FORMAT,
            "sequence": job.sequence,
            "state": job.state.value,
            "message": job.message,
            "change_time": job.change_time.isoformat(),
            "start_time": job.start_time and job.start_time.isoformat(),
            "end_time": job.end_time and job.end_time.isoformat(),
            "cancel_reason": job.cancel_reason,
            "published_version": publication and publication.version,
            "published_root_sha256": publication and publication.root_sha256,
        }
    )


def progress_to_json(progress: Progress) -> bytes:
    return _dump(
        {
            "format": PROGRESS_FORMAT,
            "stage": progress.stage,
            "epoch": progress.epoch,
            "num_epochs": progress.num_epochs,
            "step": progress.step,
            "num_steps": progress.num_steps,
            "eta_s": None if progress.eta is None else progress.eta.total_seconds(),
            "metrics": dict(progress.metrics),
            "report_time": progress.report_time.isoformat(),
        }
    )


def restore(spec: JobSpec, changes: Sequence[bytes], progress: bytes | None) -> TrainingJob:
    """The job after all its changes, in order from number 1.

    Raises:
        CorruptJobError: as the module says.
    """
    job = TrainingJob.created(spec)
    for number, data in enumerate(changes, 1):
        job = _changed(job, _Fields(data, CHANGE_FORMAT, f"change {number} of {spec.id}"), number)
    return job if progress is None else replace(job, progress=_progress(progress, spec.id))


def _changed(job: TrainingJob, fields: "_Fields", number: int) -> TrainingJob:
    if fields.take("sequence", int) != number:
        raise fields.corrupt("its number is not its place")
    try:
        state = JobState(fields.text("state"))
    except ValueError:
        raise fields.corrupt("no such state") from None
    if job.is_ended or (state is not job.state and state not in NEXT[job.state]):
        raise fields.corrupt(f"{job.state.value} cannot become {state.value}")
    version = fields.take("published_version", int, optional=True)
    root = fields.take("published_root_sha256", str, optional=True)
    try:
        publication = None if version is None else Publication(version=version, root_sha256=root or "")
    except DragomanError as error:
        raise fields.corrupt(error.message) from None
    changed = replace(
        job,
        sequence=number,
        state=state,
        message=fields.text("message"),
        change_time=fields.time("change_time"),
        start_time=fields.optional_time("start_time"),
        end_time=fields.optional_time("end_time"),
        cancel_reason=fields.take("cancel_reason", str, optional=True),
        publication=publication,
    )
    fields.finish()
    return changed


def _progress(data: bytes, job_id: str) -> Progress:
    fields = _Fields(data, PROGRESS_FORMAT, f"progress of {job_id}")
    metrics = fields.take("metrics", dict)
    if not all(isinstance(value, int | float) for value in metrics.values()):
        raise fields.corrupt("metrics must be numbers")
    eta_s = fields.take("eta_s", (int, float), optional=True)
    try:
        progress = Progress(
            stage=fields.text("stage"),
            epoch=fields.take("epoch", int),
            num_epochs=fields.take("num_epochs", int),
            step=fields.take("step", int),
            num_steps=fields.take("num_steps", int),
            eta=None if eta_s is None else timedelta(seconds=eta_s),
            metrics={name: float(value) for name, value in metrics.items()},
            report_time=fields.time("report_time"),
        )
    except DragomanError as error:
        raise fields.corrupt(error.message) from None
    fields.finish()
    return progress


def _dump(value: Mapping[str, Any]) -> bytes:
    # A diverged run reports a loss that is no number; Python's JSON writes and reads NaN, and nobody else reads this.
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


class _Fields:
    """One JSON object that must be read completely."""

    def __init__(self, data: bytes, kind: str, what: str) -> None:
        self._what = what
        try:
            values = json.loads(data)
        except ValueError:
            raise self.corrupt("it is not JSON") from None
        if not isinstance(values, dict):
            raise self.corrupt("it is not an object")
        self._values: dict[str, Any] = values
        if self.text("format") != kind:
            raise self.corrupt(f"its format is not {kind}")

    def corrupt(self, why: str) -> CorruptJobError:
        return CorruptJobError(f"The {self._what} cannot be read: {why}.")

    def take(self, name: str, kind: type | tuple[type, ...], *, optional: bool = False) -> Any:
        if name not in self._values:
            raise self.corrupt(f"{name} is missing")
        value = self._values.pop(name)
        if optional and value is None:
            return None
        # bool is an int to Python, never to us.
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.corrupt(f"{name} has the wrong type")
        return value

    def text(self, name: str) -> str:
        return str(self.take(name, str))

    def time(self, name: str) -> datetime:
        try:
            time = datetime.fromisoformat(self.text(name))
        except ValueError:
            raise self.corrupt(f"{name} is not a time") from None
        if time.tzinfo is None:
            raise self.corrupt(f"{name} has no time zone")
        return time

    def optional_time(self, name: str) -> datetime | None:
        if self._values.get(name, "") is None:
            del self._values[name]
            return None
        return self.time(name)

    def finish(self) -> None:
        if self._values:
            raise self.corrupt(f"unknown keys {', '.join(sorted(self._values))}")
