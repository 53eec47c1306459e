# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a follower of aliases that comes back has missed, from the verified chains.

A follower names the newest event that it has of each alias; it gets what follows, in order. One that has more than the
store knows of a loss that the store itself cannot show; that is logged, and the follower, which verifies the chain,
believes nothing that does not continue what it has seen.
"""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_registry.alias import StoredEvent
from dragoman_registry.catalog import Catalog

logger = logging.getLogger(__name__)

MAX_SEEN = 10_000

# Tenant, model, alias.
Place = tuple[str, str, str]


def check_seen(seen: Sequence[tuple[Place, int]]) -> Mapping[Place, int]:
    """Return the newest event that the follower has, by alias.

    Raises:
        InvalidArgumentError: too many, one twice, or a sequence below 1.
    """
    if len(seen) > MAX_SEEN:
        raise InvalidArgumentError(f"seen: {len(seen)} aliases, the limit is {MAX_SEEN}; watch without and compare")
    if len(dict(seen)) != len(seen) or any(sequence < 1 for _, sequence in seen):
        raise InvalidArgumentError("seen: each alias once, with the sequence of an event, from 1")
    return dict(seen)


async def missed(
    catalog: Catalog, newest: Sequence[StoredEvent], seen: Mapping[Place, int]
) -> AsyncIterator[StoredEvent]:
    """Yield the newest event of each alias that the follower does not know, and all that it missed of the others.

    Args:
        catalog: Reads the chains.
        newest: The newest event of each alias that the follower may see, as the watch began.
        seen: As check_seen returned it.
    """
    here = {(event.record.tenant, event.record.model, event.record.alias) for event in newest}
    for (tenant, model, alias), sequence in seen.items():
        if (tenant, model, alias) not in here:
            logger.warning(
                "a follower has seen an alias that is not here",
                extra={"tenant": tenant, "model": model, "alias": alias, "sequence": sequence},
            )
    for event in newest:
        record = event.record
        known = seen.get((record.tenant, record.model, record.alias))
        if known is None:
            yield event
        elif known < record.sequence:
            async for missing in _between(catalog, event, known):
                yield missing
        elif known > record.sequence:
            logger.error(
                "a follower has seen an event that is gone from the store, or not read yet",
                extra={"tenant": record.tenant, "model": record.model, "alias": record.alias, "sequence": known},
            )


async def _between(catalog: Catalog, newest: StoredEvent, known: int) -> AsyncIterator[StoredEvent]:
    record = newest.record
    try:
        chain = await catalog.checked_chain(record.tenant, record.model, record.alias)
    except DataLossError:
        # Logged by the catalogue; the other aliases are not held up by it.
        return
    # What came after newest comes from the queue.
    for event in chain[known : record.sequence]:
        yield event
