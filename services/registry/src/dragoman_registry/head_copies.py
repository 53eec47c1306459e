# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Copies of the heads in a folder of this machine: what a writer to the store cannot put back to an older state.

    <folder>/<tenant>/<model>/policies.json | aliases/<a>.json      the signed head, replaced whole

Owns the files. They are read once, at the start; the folder belongs to one registry.
"""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

from dragoman_common.atomic import write_atomic
from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.head import HeadRecord, verify_head
from dragoman_models.verify import VerifyingKeys
from dragoman_registry.chain_head import Place

logger = logging.getLogger(__name__)

_SUFFIX = ".json"
_MAX_BYTES = 64 << 10


class HeadCopies:
    """The newest head of each chain that this registry has seen, across restarts."""

    def __init__(self, folder: Path, keys: VerifyingKeys) -> None:
        """Read what is there; a file that does not verify is logged and counts as missing.

        Raises:
            InvalidArgumentError: the folder cannot be made or read.
        """
        self._folder = folder
        self._heads: dict[Place, HeadRecord] = {}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in sorted(folder.rglob(f"*{_SUFFIX}")):
                self._load(path, keys)
        except OSError as error:
            raise InvalidArgumentError(f"state_folder {folder.name} cannot be used: {error.strerror}") from error

    def places(self) -> Iterator[Place]:
        """Yield the chains of which there is a copy."""
        yield from list(self._heads)

    def get(self, place: Place) -> HeadRecord | None:
        """Return the copy, if there is one."""
        return self._heads.get(place)

    async def put(self, head: HeadRecord, envelope: bytes) -> None:
        """Keep a head in place of the one before. On a full disk the one before stays, and that is logged."""
        place = Place(head.tenant, head.model, head.chain)
        try:
            await asyncio.to_thread(self._write, place, envelope)
        except OSError as error:
            logger.warning("a head was not copied", extra={"chain": str(place), "error": error.strerror})
            return
        self._heads[place] = head

    def _write(self, place: Place, envelope: bytes) -> None:
        path = self._folder / place.tenant / place.model / f"{place.chain}{_SUFFIX}"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, envelope)

    def _load(self, path: Path, keys: VerifyingKeys) -> None:
        parts = path.relative_to(self._folder).as_posix().removesuffix(_SUFFIX).split("/", 2)
        if len(parts) != len(Place.__dataclass_fields__) or path.name.startswith("."):
            return
        place = Place(*parts)
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
        try:
            self._heads[place] = verify_head(data, keys, tenant=place.tenant, model=place.model, chain=place.chain)
        except DataLossError as error:
            logger.error("the copy of a head does not verify", extra={"reason": error.message})  # noqa: TRY400 - no defect of ours
