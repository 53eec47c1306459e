# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of running jobs: what a job needs to go on where it was when its process was killed.

    put: content -> sign -> create checkpoints/<job>/records/<step>, the commit -> all but the two newest are deleted
    get: the newest record that verifies -> content, hashed as it streams

What a checkpoint holds is the trainer's matter. The record is signed and names tenant, job and step, so one of another
job or tenant is none; who can write to the store can at most take a job back to an older one of its own, from which it
trains to the same end. Checkpoints of jobs that never came to their end go when nothing was added for long.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from dragoman_common.clock import Clock
from dragoman_common.errors import DataLossError, InvalidArgumentError, NotFoundError
from dragoman_models.fields import Fields
from dragoman_models.file_digest import FileDigest, is_digest
from dragoman_models.record_fields import (
    MAX_INTEGER,
    canonical,
    canonical_json,
    payload_object,
    sha256_field,
    time_field,
    time_text,
)
from dragoman_models.signing import SigningKey, sign_envelope
from dragoman_models.verify import VerifyingKeys, verify_record
from dragoman_registry import layout
from dragoman_registry.ports import ObjectExistsError, ObjectNotFoundError, ObjectStore
from dragoman_registry.settled import create_settled
from dragoman_registry.signed_object import read_signed

CHECKPOINT_FORMAT: Final = "dragoman.checkpoint/1"
CHECKPOINT_PAYLOAD_TYPE: Final = "application/vnd.dragoman.checkpoint.v1+json"
KEPT: Final = 2
SWEEP_PERIOD_S: Final = 3600.0

logger = logging.getLogger(__name__)


class CheckpointNotFoundError(NotFoundError):
    """The job has no such checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointRecord:
    """One checkpoint of one job, after so many steps."""

    tenant: str
    job_id: str
    step: int
    size_bytes: int
    sha256: str
    save_time: datetime

    def to_payload(self) -> bytes:
        """Write the canonical JSON."""
        return canonical_json({**asdict(self), "format": CHECKPOINT_FORMAT, "save_time": time_text(self.save_time)})


def verify_checkpoint(envelope: bytes, keys: VerifyingKeys, *, tenant: str, job_id: str, step: int) -> CheckpointRecord:
    """Return the checkpoint that is expected at this place.

    Raises:
        DataLossError: no trusted signature, no checkpoint, or another one's.
    """
    what = f"{tenant}/checkpoints/{job_id}/{step}"
    return verify_record(
        envelope,
        CHECKPOINT_PAYLOAD_TYPE,
        keys,
        _parse,
        what=what,
        holds="the signed checkpoint",
        place=lambda record: f"{record.tenant}/checkpoints/{record.job_id}/{record.step}",
    )


def _parse(payload: bytes, *, what: str) -> CheckpointRecord:
    top = Fields(
        payload_object(payload, what=what), what=what, required=(*CheckpointRecord.__dataclass_fields__, "format")
    )
    top.text("format", choices=(CHECKPOINT_FORMAT,))
    record = CheckpointRecord(
        tenant=top.text("tenant"),
        job_id=top.text("job_id"),
        step=top.integer("step", low=1, high=MAX_INTEGER),
        size_bytes=top.integer("size_bytes", low=1, high=MAX_INTEGER),
        sha256=sha256_field(top, "sha256"),
        save_time=time_field(top, "save_time"),
    )
    return canonical(record, payload, what)


class CheckpointBook:
    """Keeps the newest checkpoints of each job.

    Args:
        store: Where.
        keys: Whose records count.
        key: Signs.
        clock: For the age of checkpoints.
        lifetime_s: How long a job's checkpoints stay when none is added. Longer than a job may be away.
        max_bytes: Largest checkpoint.
    """

    def __init__(
        self,
        *,
        store: ObjectStore,
        keys: VerifyingKeys,
        key: SigningKey,
        clock: Clock,
        lifetime_s: float,
        max_bytes: int,
    ) -> None:
        self._store = store
        self._keys = keys
        self._key = key
        self._clock = clock
        self._lifetime = timedelta(seconds=lifetime_s)
        self._max_bytes = max_bytes
        self._swept_s: dict[str, float] = {}

    async def put(
        self, tenant: str, job_id: str, *, step: int, size_bytes: int, sha256: str, chunks: AsyncIterator[bytes]
    ) -> None:
        """Keep a checkpoint, whole or not at all. One that is there already under this step stays.

        Raises:
            InvalidArgumentError: it is too large, or not what was announced.
            UnavailableError: the store failed; it may be tried again.
        """
        if not 1 <= step <= MAX_INTEGER or not is_digest(sha256):
            raise InvalidArgumentError("checkpoint: step must be at least 1, sha256 64 lower-case hexadecimal digits")
        if not 1 <= size_bytes <= self._max_bytes:
            raise InvalidArgumentError(
                f"checkpoint.size_bytes is {size_bytes}; from 1 to {self._max_bytes} (max_checkpoint_bytes)"
            )
        key = layout.checkpoint_content(tenant, job_id, sha256)
        await self._store.put_blob(key, chunks, size_bytes=size_bytes, sha256=sha256)
        record = CheckpointRecord(
            tenant=tenant,
            job_id=job_id,
            step=step,
            size_bytes=size_bytes,
            sha256=sha256,
            save_time=self._clock.now(),
        )
        envelope = await asyncio.to_thread(sign_envelope, CHECKPOINT_PAYLOAD_TYPE, record.to_payload(), self._key)
        with suppress(ObjectExistsError):
            await create_settled(self._store, layout.checkpoint_record(tenant, job_id, step), envelope)
        await self._forget_old(tenant, job_id)
        await self._sweep(tenant)

    async def newest(self, tenant: str, job_id: str, *, before_step: int = 0) -> CheckpointRecord:
        """Return the job's newest checkpoint that verifies, of a step before the given one unless that is 0.

        Raises:
            CheckpointNotFoundError: it has none.
        """
        for step in reversed(await self._steps(tenant, job_id)):
            if before_step and step >= before_step:
                continue
            try:
                return await self._read(tenant, job_id, step)
            except (DataLossError, ObjectNotFoundError) as error:
                logger.warning("checkpoint passed over", extra={"job": job_id, "step": step, "reason": error.message})
        raise CheckpointNotFoundError(f"job {job_id} has no checkpoint")

    @staticmethod
    def content_of(record: CheckpointRecord) -> tuple[str, FileDigest]:
        """Return where a checkpoint's content lies, and what it must be."""
        key = layout.checkpoint_content(record.tenant, record.job_id, record.sha256)
        return key, FileDigest(path="content", size_bytes=record.size_bytes, sha256=record.sha256)

    async def drop(self, tenant: str, job_id: str) -> None:
        """Delete all that a job has."""
        for step in await self._steps(tenant, job_id):
            await self._store.delete(layout.checkpoint_record(tenant, job_id, step))
        await self._drop_contents(tenant, job_id, kept=frozenset())

    async def _forget_old(self, tenant: str, job_id: str) -> None:
        steps = await self._steps(tenant, job_id)
        # Records first: what is listed must be there.
        for step in steps[:-KEPT]:
            await self._store.delete(layout.checkpoint_record(tenant, job_id, step))
        kept = set()
        for step in steps[-KEPT:]:
            with suppress(DataLossError, ObjectNotFoundError):
                kept.add((await self._read(tenant, job_id, step)).sha256)
        await self._drop_contents(tenant, job_id, kept=frozenset(kept))

    async def _drop_contents(self, tenant: str, job_id: str, *, kept: frozenset[str]) -> None:
        for name in await self._store.names_below(layout.checkpoint_contents(tenant, job_id)):
            if is_digest(name) and name not in kept:
                await self._store.delete(layout.checkpoint_content(tenant, job_id, name))

    async def _sweep(self, tenant: str) -> None:
        """Now and then, delete what jobs left that nobody goes on with."""
        now_s = self._clock.monotonic_s()
        if now_s - self._swept_s.get(tenant, float("-inf")) < SWEEP_PERIOD_S:
            return
        self._swept_s[tenant] = now_s
        for job_id in await self._store.names_below(layout.checkpoints(tenant)):
            try:
                age = self._clock.now() - (await self.newest(tenant, job_id)).save_time
            except CheckpointNotFoundError:
                continue
            if age > self._lifetime:
                await self.drop(tenant, job_id)

    async def _steps(self, tenant: str, job_id: str) -> list[int]:
        names = await self._store.names_below(layout.checkpoint_records(tenant, job_id))
        return sorted(int(name) for name in names if name.isdecimal())

    async def _read(self, tenant: str, job_id: str, step: int) -> CheckpointRecord:
        envelope = await read_signed(self._store, self._keys, layout.checkpoint_record(tenant, job_id, step))
        return verify_checkpoint(envelope, self._keys, tenant=tenant, job_id=job_id, step=step)
