# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a follower of aliases that comes back has missed, from the verified chains.

A follower names the newest event that it has of each alias; it gets what follows, in order. One that has more than the
store, or another event in the newest one's place, knows of a loss that the store itself cannot show: that is logged and
told to the follower, which verifies the chain and believes nothing that does not continue what it has seen.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dragoman_common.audit import Audit
from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_common.names import check_name
from dragoman_models.verify import payload_sha256
from dragoman_registry.alias import StoredEvent
from dragoman_registry.catalog import Catalog

audit = Audit("registry")

MAX_SEEN = 10_000
# Each is looked for in the store: nobody makes us read thousands of chains by naming them.
MAX_AHEAD = 100

# Tenant, model, alias.
Place = tuple[str, str, str]


def check_seen(seen: Sequence[tuple[Place, int]]) -> Mapping[Place, int]:
    """Return the newest event that the follower has, by alias.

    Raises:
        InvalidArgumentError: too many, one twice, a name that is none, or a sequence below 1.
    """
    if len(seen) > MAX_SEEN:
        raise InvalidArgumentError(f"seen: {len(seen)} aliases, the limit is {MAX_SEEN}; watch without and compare")
    if len(dict(seen)) != len(seen) or any(sequence < 1 for _, sequence in seen):
        raise InvalidArgumentError("seen: each alias once, with the sequence of an event, from 1")
    for place, _ in seen:
        for name, value in zip(("tenant", "model", "alias"), place, strict=True):
            check_name(value, field=f"seen.{name}")
    return dict(seen)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ahead:
    """An alias of which a follower has seen what is not held here; held is 0 where the chain does not verify."""

    place: Place
    seen_sequence: int
    held_sequence: int


async def missed(
    catalog: Catalog, newest: Sequence[StoredEvent], seen: Mapping[Place, int], digests: Mapping[Place, str]
) -> AsyncIterator[StoredEvent | Ahead]:
    """Yield the newest event of each alias that is new to the follower, and all that it missed of the others.

    Where it has seen more than there is, that is yielded first.

    Args:
        catalog: Reads the chains.
        newest: The newest event of each alias that the follower may see, as the watch began.
        seen: As check_seen returned it.
        digests: The digests of the seen events, where the follower says them.
    """
    held = {(event.record.tenant, event.record.model, event.record.alias): event.record.sequence for event in newest}
    unknown = [(place, sequence) for place, sequence in seen.items() if sequence > held.get(place, 0)]
    for place, sequence in unknown[:MAX_AHEAD]:
        if (ahead := await _ahead(catalog, place, sequence)) is not None:
            yield ahead
    for event in newest:
        record = event.record
        place = (record.tenant, record.model, record.alias)
        known = seen.get(place)
        if known is None:
            yield event
        elif known == record.sequence and digests.get(place) and digests[place] != payload_sha256(record):
            # Of an older one the follower sees by itself that what comes does not continue it.
            _log(place, f"a follower has seen another event {known} than the store holds")
            yield Ahead(place=place, seen_sequence=known, held_sequence=known)
        elif known < record.sequence:
            async for missing in _between(catalog, event, known):
                yield missing


async def _ahead(catalog: Catalog, place: Place, sequence: int) -> Ahead | None:
    tenant, model, alias = place
    held = 0
    # What another registry wrote since the last scan is no loss: it is read now, and comes with the queue.
    with suppress(DataLossError):
        held = len(await catalog.checked_chain(tenant, model, alias))
    if held >= sequence:
        return None
    _log(place, f"a follower has seen event {sequence}, which is gone; the store holds {held}")
    return Ahead(place=place, seen_sequence=sequence, held_sequence=held)


def _log(place: Place, reason: str) -> None:
    tenant, model, alias = place
    audit.lost(f"{tenant}/{model}/aliases/{alias}", reason)


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
