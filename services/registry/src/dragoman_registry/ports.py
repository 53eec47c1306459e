# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the registry asks of the world: a place for objects, and a log for its news.

Both are named here by what they promise. Adapters: folder and memory for objects, event_log for news.
"""

import re
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from dragoman_common.errors import (
    AbortedError,
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from dragoman_models.record import AliasRecord, VersionManifest

_SEGMENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}", re.ASCII)


class ObjectExistsError(AlreadyExistsError):
    """The key is taken; what is there stays as it is."""


class ObjectNotFoundError(NotFoundError):
    """Nothing is kept under the key."""


class ObjectChangedError(AbortedError):
    """What is kept under the key is not what the writer took it for; it stays as it is."""


class StoreFullError(UnavailableError):
    """The store has no room left. It takes writes again as soon as there is some; reads are served meanwhile."""

    def __init__(self, what: str, reason: str) -> None:
        """Say what was not kept, and what the operator can do."""
        super().__init__(
            f"{what}: the store is full ({reason}); nothing was kept of it. Free space where the store lies, or let "
            "`dragoman gc` do so, and try again"
        )


class BlobMismatchError(InvalidArgumentError):
    """The content that was streamed is not what its size and digest said. Nothing was kept."""


def is_segment(name: str) -> bool:
    """Return whether a name can be part of a key; names in a store that cannot were not written by us."""
    return bool(_SEGMENT.fullmatch(name)) and ".." not in name


def is_key(key: str) -> bool:
    """Return whether a listed key can be one of ours; what cannot is never asked for."""
    return all(map(is_segment, key.split("/")))


def check_key(key: str) -> list[str]:
    """Return the segments of a key or prefix.

    Raises:
        InvalidArgumentError: one of them is none.
    """
    segments = key.split("/")
    for segment in segments:
        if not is_segment(segment):
            raise InvalidArgumentError(f"{segment[:80]!r} cannot be part of a key")
    return segments


MAX_OBJECT_BYTES = 16 << 20
"""Read at most so much of an object whose size is not known: what somebody left in the store may have any size."""


@dataclass(frozen=True, slots=True)
class ObjectTag:
    """What the store's list says of an object: its size, and a tag that is another one once it was replaced."""

    size_bytes: int
    tag: str


class ObjectStore(Protocol):
    """Objects under keys of plain segments joined by '/'. What is kept survives a crash of process and machine.

    Every method raises UnavailableError when the store cannot be reached or is full; whether a write took place is then
    unknown, and read_back tells. The store is not trusted: records are signed, blobs are checked by digest.
    """

    async def create(self, key: str, data: bytes) -> None:
        """Keep a small object, whole or not at all, if and only if the key is free: one of several racers wins.

        Raises:
            ObjectExistsError: the key is taken.
        """
        ...

    async def replace(self, key: str, data: bytes, *, expected: bytes) -> None:
        """Keep a small object in another's place, whole or not at all, if that other is the expected one.

        Of several racers from one state one wins. Records are never replaced, only what points to the newest of them.

        Raises:
            ObjectChangedError: the key holds something else, or nothing.
        """
        ...

    async def put_blob(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes: int, sha256: str) -> None:
        """Keep a stream under a key that follows from its content; doing it again heals a damaged blob.

        Nothing is to be seen under the key before the stream has ended and its size and digest were found right.

        Raises:
            BlobMismatchError: other content, or more of it. An error of the stream itself passes through.
        """
        ...

    async def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes from offset on, at most length of them (None: to the end).

        Raises:
            ObjectNotFoundError: nothing under the key.
        """
        ...

    async def delete(self, key: str) -> None:
        """Keep nothing under the key any longer; nothing is there already is no error.

        Only garbage collection deletes, and what is deleted is no record.
        """
        ...

    async def abandon_uploads(self, keys: Collection[str], *, begun_before: datetime) -> int:
        """Free what put_blob left when its process died: uploads that began before a time and did not end.

        Args:
            keys: Where to look in any case; a store that can list its unfinished uploads looks everywhere.
            begun_before: Longer ago than an upload can take, or one that is under way fails.

        Returns:
            How many were freed.
        """
        ...

    async def names_below(self, prefix: str) -> list[str]:
        """Return the names directly below a prefix, sorted; a name may lead to nothing that is kept. Empty if none."""
        ...

    async def tags_below(self, prefix: str) -> dict[str, ObjectTag]:
        """Return every key below a prefix, at any depth, with its object's tag.

        The tag tells what need not be read again. It is the store's word, so it proves nothing. Names that no key of
        ours has are among them, for an audit record: see is_key.
        """
        ...

    async def presigned_url(self, key: str, *, lifetime_s: int) -> str | None:
        """Return a URL under which anyone may read the object for lifetime_s (1 to 604800), past the registry.

        None: this store has no such thing, and the content is streamed. Whoever reads there checks size and digest. The
        URL is a secret for its lifetime.
        """
        ...


class ModelNews(Protocol):
    """Tells other services, through the event log, what was written. The store is the truth; this is the bell."""

    async def version_published(self, manifest: VersionManifest) -> None:
        """Append VersionPublished. Raises DragomanError when the log does not take it."""
        ...

    async def alias_moved(self, record: AliasRecord) -> None:
        """Append AliasMoved. Raises DragomanError when the log does not take it."""
        ...
