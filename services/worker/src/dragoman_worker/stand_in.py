# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which earlier version stands in for an alias whose newest target cannot be loaded, when nothing older is held.

That is so after a restart: what served before is known to the chain of the alias alone. The chain is read backwards,
one event for each target that fails, until one comes up.

    newest target failed, nothing serves -> the event before it -> its stable version is loaded -> failed -> and so on

Never for a target that is only loading, or whose bytes cannot be had for a moment: after a roll-back the older events
of a chain are the versions that were taken away from.
"""

import logging
from collections.abc import Iterator

from dragoman_common.errors import DeadlineExceededError, DragomanError, UnavailableError
from dragoman_models.record import AliasRecord
from dragoman_worker.alias_book import AliasBook, stable_of
from dragoman_worker.held_version import VersionRef
from dragoman_worker.ports import AliasKey, RunnerEndedError
from dragoman_worker.starter import VersionLimitError

logger = logging.getLogger(__name__)

MAX_STEPS_BACK = 8
"""Events read backwards, at most: more bad promotions in a row are for a person to look at."""
MAX_PASSING_FAILURES = 3
"""So many failures that may pass by themselves count as one that does not."""


class StandIns:
    """One stand-in per alias at most."""

    def __init__(self, book: AliasBook) -> None:
        self._book = book
        self._chosen: dict[AliasKey, AliasRecord] = {}

    def refs(self) -> Iterator[tuple[AliasKey, VersionRef]]:
        """The versions that stand in, or shall, and for which aliases."""
        for key, record in self._chosen.items():
            yield key, stable_of(record)

    def drop(self, key: AliasKey) -> None:
        """The alias needs none: it has moved, or something serves it."""
        self._chosen.pop(key, None)

    async def failed(self, key: AliasKey, ref: VersionRef) -> None:
        """A version of this alias cannot be loaded: step back, if it is the one that the alias would be served by."""
        newest = self._book.records.get(key)
        if newest is None:
            return
        at = self._chosen.get(key, newest)
        if stable_of(at) != ref:
            return
        try:
            earlier = await self._earlier(newest, at)
        except DragomanError as error:
            # The next failure of this version asks again.
            logger.warning("alias history not read", extra={"alias": "/".join(key), "error": error.message})
            return
        # The alias may have moved meanwhile; then what was read is no answer any more.
        if earlier is not None and self._book.records.get(key) is newest:
            logger.warning(
                "earlier version stands in", extra={"alias": "/".join(key), "version": stable_of(earlier).name}
            )
            self._chosen[key] = earlier

    async def _earlier(self, newest: AliasRecord, at: AliasRecord) -> AliasRecord | None:
        """The nearest event before `at` with another stable version; None where the chain, or the patience, ends."""
        record: AliasRecord | None = at
        while record is not None and stable_of(record) == stable_of(at):
            if newest.sequence - record.sequence >= MAX_STEPS_BACK:
                return None
            record = await self._book.before(record)
        return record


def is_lasting(error: Exception, num_failures: int) -> bool:
    """Tell whether a failed load speaks against the version, and not only against this moment.

    Args:
        error: Of the newest attempt.
        num_failures: In a row, this one counted.
    """
    if isinstance(error, VersionLimitError):
        return False
    is_passing = isinstance(error, UnavailableError | DeadlineExceededError | RunnerEndedError)
    return not is_passing or num_failures >= MAX_PASSING_FAILURES
