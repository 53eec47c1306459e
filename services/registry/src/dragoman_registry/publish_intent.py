# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The intent of a publish: what keeps garbage collection from the blobs of an upload that no version lists yet.

    intent -> is a blob or claim of ours condemned? -> (spare it) -> upload -> (wait until none can delete it) -> commit

A collector deletes only what was condemned before, and within DELETE_WINDOW_S of having listed the intents.
So either it has seen this intent, or the publisher sees the condemnation, and then outwaits the window before its
commit. Intents expire, because a publisher that died says so to nobody.
"""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from dragoman_common.clock import Clock
from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.fields import Fields
from dragoman_models.file_digest import FileDigest
from dragoman_models.record_fields import canonical_json, sha256_field, time_field, time_text
from dragoman_registry.garbage_marks import Marks, claims_mark
from dragoman_registry.ports import MAX_OBJECT_BYTES, ObjectExistsError, ObjectStore
from dragoman_registry.settled import create_settled
from dragoman_text.strict_json import parse_object

INTENT_FORMAT = "dragoman.intent/1"
# From listing the intents to the last deletion that rests on the list.
DELETE_WINDOW_S = 5.0
# The window, and the longest that a request to the store may be on its way.
SPARE_WAIT_S = 45.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """A publish that was begun: when, and which blobs it brings. It takes size_bytes itself."""

    root_sha256: str
    time: datetime
    blobs: frozenset[str]
    size_bytes: int


def read_intent(data: bytes, *, what: str) -> Intent:
    """Read an intent as the store keeps it.

    Raises:
        DataLossError: it is none.
    """
    try:
        top = Fields(
            parse_object(data, what=what, max_bytes=MAX_OBJECT_BYTES - 1),
            what=what,
            required=("format", "root_sha256", "publisher", "time", "files"),
        )
        top.text("format", choices=(INTENT_FORMAT,))
        files = [
            Fields(item, what=what, required=("sha256", "size_bytes")) for item in top.items("files", max_items=1000)
        ]
        return Intent(
            root_sha256=sha256_field(top, "root_sha256"),
            time=time_field(top, "time"),
            blobs=frozenset(sha256_field(file, "sha256") for file in files),
            size_bytes=len(data),
        )
    except InvalidArgumentError as error:
        raise DataLossError(error.message) from error


class Declared(Protocol):
    """What is to be uploaded: a version, or a data set."""

    @property
    def tenant(self) -> str:
        """Whose."""
        ...

    @property
    def publish_id(self) -> str:
        """The same on every retry."""
        ...

    @property
    def files(self) -> tuple[FileDigest, ...]:
        """What it brings."""
        ...

    @property
    def root_sha256(self) -> str:
        """Names the content."""
        ...

    @property
    def publisher(self) -> str:
        """Who brings it."""
        ...

    @property
    def intents(self) -> str:
        """Where its intent belongs."""
        ...

    @property
    def claims_of(self) -> str:
        """The model whose number its content may have claimed; empty where nothing claims."""
        ...


class Intents:
    """Declares publishes."""

    def __init__(self, *, store: ObjectStore, clock: Clock, lifetime_s: float) -> None:
        """Take how long an intent protects; half of it is for one publish, the rest is margin."""
        self._store = store
        self._clock = clock
        self._lifetime_s = lifetime_s

    async def declare(self, request: Declared) -> float:
        """Say what will be uploaded.

        Returns:
            Seconds on the monotonic clock before which the publish must not be committed.

        Raises:
            InvalidArgumentError: the publish id was used for other content.
        """
        now = self._clock.now()
        content = {
            "format": INTENT_FORMAT,
            "root_sha256": request.root_sha256,
            "publisher": request.publisher,
            "time": time_text(now),
            "files": [{"sha256": file.sha256, "size_bytes": file.size_bytes} for file in request.files],
        }
        key = f"{request.intents}/{request.publish_id}"
        try:
            await create_settled(self._store, key, canonical_json(content))
        except ObjectExistsError:
            earlier = read_intent(await self._store.read(key, length=MAX_OBJECT_BYTES), what=key)
            if earlier.root_sha256 != request.root_sha256:
                raise InvalidArgumentError(f"publish_id {request.publish_id} was used for other content") from None
            if now - earlier.time > timedelta(seconds=self._lifetime_s / 2):
                # Beside it, not in its place: a collector that deletes the old one must not hit the new one.
                key = f"{key}.{secrets.token_hex(8)}"
                await create_settled(self._store, key, canonical_json(content))
        return await self._spare(request)

    async def outwait(self, until_s: float) -> None:
        """Wait until a monotonic time that declare returned; mostly it has passed long ago."""
        await asyncio.sleep(max(0.0, until_s - self._clock.monotonic_s()))

    async def _spare(self, request: Declared) -> float:
        marks = Marks(self._store, request.tenant)
        condemned = set(await marks.names())
        claims = claims_mark(request.claims_of, request.root_sha256)
        ours = sorted(condemned & {claims, *(file.sha256 for file in request.files)})
        for name in ours:
            await marks.spare(name)
        return self._clock.monotonic_s() + SPARE_WAIT_S if ours else 0.0
