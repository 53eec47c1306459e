# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The way of a follower that has seen an alias's event which the store has lost, past an operator's acceptance of that.

    seen 4, 5;  lost 4, 5;  kept 1, 2, 3;  then 4' "accepts the loss of 5", 5', 6', ...
    the events as the registry has them -> the one that accepts the loss of exactly the seen one -> each that continues
        it -> the newest

Without such an event the registry has gone back, or another one plays it, and what was seen holds. Pure; the events
come from the caller.
"""

from collections.abc import AsyncIterable

from dragoman_models.gate_basis import LostEvent
from dragoman_models.record import AliasRecord
from dragoman_models.verify import verify_alias_event
from dragoman_models.verifying_keys import VerifyingKeys


async def newest_after_loss(
    envelopes: AsyncIterable[bytes],
    keys: VerifyingKeys,
    *,
    tenant: str,
    model: str,
    alias: str,
    lost: LostEvent,
    last: int | None = None,
) -> tuple[AliasRecord, bytes] | None:
    """Return the newest event of an alias, if its chain holds a signed acceptance of a loss.

    Args:
        envelopes: The alias's events, in order; any of those before the acceptance may be left out.
        keys: Trusted.
        tenant: Whose alias.
        model: The model.
        alias: The alias.
        lost: The event that the follower has seen.
        last: Go no further than this sequence; the follower gets what comes after it by other ways.

    Returns:
        The event and its envelope; None where no event accepts exactly this loss.

    Raises:
        DataLossError: an event that does not verify, or does not continue the one before it.
    """
    newest: tuple[AliasRecord, bytes] | None = None
    async for envelope in envelopes:
        previous = newest[0] if newest else None
        record = verify_alias_event(envelope, keys, tenant=tenant, model=model, alias=alias, previous=previous)
        if last is not None and record.sequence > last:
            break
        if newest is not None or record.accepted_loss == lost:
            newest = (record, envelope)
    return newest
