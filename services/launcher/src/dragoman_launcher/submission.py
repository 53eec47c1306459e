# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a request to an accepted job.

    names -> known request id? its job, if that is what was asked for -> room? -> recipe: form, overrides, data set
          -> stored data sets pinned by digest -> the trainer's check -> record (create-only) -> queue

Nothing is written before everything is checked, and the one write decides among racers.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from dragoman_common.clock import Clock
from dragoman_common.errors import AlreadyExistsError, NotFoundError, OverloadedError, UnavailableError
from dragoman_launcher.catalogue import JobCatalogue
from dragoman_launcher.job import JobSpec, TrainingJob, job_id
from dragoman_launcher.ports import DataSets, JobStore, RecipeChecker
from dragoman_launcher.queue import JobQueue
from dragoman_launcher.recipe_check import CheckedRecipe, RecipeError, StoredData, check_recipe, check_request
from dragoman_launcher.supervisor import JobSupervisor

MAX_CHECKS_AT_ONCE: Final = 2


class RequestIdTakenError(AlreadyExistsError):
    """The request id made another job: returning that one would say that this one runs."""


class JobSubmission:
    def __init__(
        self,
        *,
        catalogue: JobCatalogue,
        store: JobStore,
        supervisor: JobSupervisor,
        queue: JobQueue,
        checker: RecipeChecker,
        data_sets: DataSets,
        clock: Clock,
        data_dir: Path | None,
        max_recipe_bytes: int,
        max_jobs: int,
    ) -> None:
        self._catalogue = catalogue
        self._store = store
        self._supervisor = supervisor
        self._queue = queue
        self._checker = checker
        self._data_sets = data_sets
        self._clock = clock
        self._data_dir = data_dir
        self._max_recipe_bytes = max_recipe_bytes
        self._max_jobs = max_jobs
        # Each check is a process of its own; a burst of submissions must not start a hundred interpreters.
        self._checks = asyncio.Semaphore(MAX_CHECKS_AT_ONCE)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def submit(
        self, *, tenant: str, subject: str, request_id: str, model: str, recipe: str, overrides: Mapping[str, str]
    ) -> tuple[TrainingJob, bool]:
        """Make the job of this request, or return the one it made before.

        Returns:
            The job, and whether this call made it.

        Raises:
            InvalidArgumentError: a name, the recipe or an override; the text names the key.
            RequestIdTakenError: the request id made a job before, of another model, recipe or overrides.
            OverloadedError: too many jobs wait, of all or of this tenant's quota, or are kept.
            UnavailableError: the store or the checker does not answer; the call may be repeated.
        """
        check_request(request_id, model)
        # One at a time per request: its repeats wait here, and cost no check and no place.
        async with self._locks.setdefault(job_id(tenant, request_id), asyncio.Lock()):
            # Also one that another launcher has kept just now: a repeat is answered, whatever is full here.
            known = await self._catalogue.look(job_id(tenant, request_id))
            if known is not None:
                _check_same(known.spec, model=model, recipe=recipe, overrides=overrides)
                # A record may be there that nobody queued: a call that wrote it and then failed (a full disk, say).
                self._supervisor.notice(known)
                return known, False
            return await self._submit(
                tenant=tenant,
                subject=subject,
                request_id=request_id,
                model=model,
                recipe=recipe,
                overrides=overrides,
            )

    async def _submit(
        self, *, tenant: str, subject: str, request_id: str, model: str, recipe: str, overrides: Mapping[str, str]
    ) -> tuple[TrainingJob, bool]:
        if len(self._catalogue) >= self._max_jobs:
            raise OverloadedError(f"{self._max_jobs} jobs are kept already (max_jobs).", retry_after_s=None)
        with self._queue.place(tenant):
            checked = await asyncio.to_thread(
                check_recipe, recipe, overrides, max_recipe_bytes=self._max_recipe_bytes, data_dir=self._data_dir
            )
            effective = await self._pinned(tenant, checked)
            async with self._checks:
                await self._checker.check(effective)
            spec = JobSpec(
                tenant=tenant,
                request_id=request_id,
                model=model,
                recipe=recipe,
                overrides=dict(overrides),
                effective_recipe=effective,
                submitted_by=subject,
                create_time=self._clock.now(),
            )
            return await self._created(spec)

    async def _pinned(self, tenant: str, checked: CheckedRecipe) -> str:
        digests: dict[StoredData, str] = {}
        for stored in checked.stored:
            try:
                digests[stored] = await self._data_sets.digest(tenant, stored.name, stored.sha256)
            except NotFoundError as error:
                raise RecipeError(f"{stored.section}.{stored.key}: {error.message}") from error
        return checked.pinned(digests)

    async def _created(self, spec: JobSpec) -> tuple[TrainingJob, bool]:
        # A caller that goes away between the write and the queue must not leave a job that nobody starts.
        return await asyncio.shield(asyncio.ensure_future(self._create_and_accept(spec)))

    async def _create_and_accept(self, spec: JobSpec) -> tuple[TrainingJob, bool]:
        is_created = await self._store.create(spec)
        # A record may be there that nobody queued: a call that wrote it and then failed (a full disk, say).
        job = TrainingJob.created(spec) if is_created else await self._store.load(spec.id)
        if job is None:
            raise UnavailableError("The job's record cannot be read yet; try again.")
        if not is_created:
            _check_same(job.spec, model=spec.model, recipe=spec.recipe, overrides=spec.overrides)
        self._supervisor.accept(job)
        return self._catalogue.find(spec.id) or job, is_created


def _check_same(spec: JobSpec, *, model: str, recipe: str, overrides: Mapping[str, str]) -> None:
    asked = (("model", model, spec.model), ("recipe", recipe, spec.recipe))
    differing = [name for name, now, before in asked if now != before]
    if dict(overrides) != dict(spec.overrides):
        differing.append("overrides")
    if differing:
        raise RequestIdTakenError(
            f"request_id {spec.request_id!r} made job {spec.id} before, "
            f"with another {' and another '.join(differing)}: send what it was sent with, or choose a new request_id."
        )
