# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The marks of condemned objects: since when nothing refers to them.

A mark's name is a blob's digest, or, of the claims of a content, a digest of their place. Whoever finds that an object
is in use after all takes the mark away; a collector deletes nothing that bears none.
"""

import hashlib
from datetime import datetime

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.fields import Fields
from dragoman_models.record_fields import canonical_json, time_field, time_text
from dragoman_registry import layout
from dragoman_registry.bounded import map_bounded
from dragoman_registry.ports import ObjectExistsError, ObjectNotFoundError, ObjectStore
from dragoman_registry.settled import create_settled
from dragoman_text.strict_json import parse_object

CONDEMNED_FORMAT = "dragoman.condemned/1"
_MAX_BYTES = 1024
_READS_AT_ONCE = 8


def claims_mark(model: str, root_sha256: str) -> str:
    """Return the name of the mark of a content's claims."""
    return "claims-" + hashlib.sha256(f"{model}/{root_sha256}".encode()).hexdigest()


class Marks:
    """One tenant's marks."""

    def __init__(self, store: ObjectStore, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def names(self) -> list[str]:
        """Return the names of all marks."""
        return await self._store.names_below(layout.condemned_blobs(self._tenant))

    async def read(self) -> dict[str, datetime]:
        """Return all marks, with the time since which each stands.

        Raises:
            DataLossError: one of them is none.
        """
        names = await self.names()
        times = await map_bounded(self.time_of, names, width=_READS_AT_ONCE)
        return {name: time for name, time in zip(names, times, strict=True) if time is not None}

    async def time_of(self, name: str) -> datetime | None:
        """Return since when a mark stands, None when there is none.

        Raises:
            DataLossError: what is there is no mark.
        """
        key = layout.condemned_blob(self._tenant, name)
        try:
            data = await self._store.read(key, length=_MAX_BYTES)
            top = Fields(parse_object(data, what=key, max_bytes=_MAX_BYTES), what=key, required=("format", "time"))
            top.text("format", choices=(CONDEMNED_FORMAT,))
            return time_field(top, "time")
        except ObjectNotFoundError:
            return None
        except InvalidArgumentError as error:
            raise DataLossError(error.message) from error

    async def condemn(self, name: str, now: datetime) -> datetime:
        """Set a mark, and return since when it stands: another collector may have been first."""
        content = {"format": CONDEMNED_FORMAT, "time": time_text(now)}
        try:
            await create_settled(self._store, layout.condemned_blob(self._tenant, name), canonical_json(content))
        except ObjectExistsError:
            return await self.time_of(name) or now
        return now

    async def spare(self, name: str) -> None:
        """Take a mark away."""
        await self._store.delete(layout.condemned_blob(self._tenant, name))
