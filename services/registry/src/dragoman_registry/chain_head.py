# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a head says about a chain: that it is whole, that the head is old, or that the store has lost the newest events.

Pure. Heads are written after the event that they name, and an event before its head, so

    head names the newest event                 nothing to do
    head names an earlier event, or is missing  a crash came between the two, or an old head was put back: write it anew
    head names an event that is not there       the store has lost it, or it was taken out: DATA_LOSS
    head names an event that is another one     the chain was written anew by a key that counts: DATA_LOSS

Once an operator has accepted a loss, by an event that says so, heads of before the loss are old ones.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from dragoman_common.errors import DataLossError
from dragoman_models.head import HeadRecord
from dragoman_models.policy_record import PolicyRecord
from dragoman_models.record import AliasRecord
from dragoman_registry import layout

Link: TypeAlias = AliasRecord | PolicyRecord
Links: TypeAlias = Sequence[Link]

POLICIES = "policies"
ALIASES = "aliases"


class EventsLostError(DataLossError):
    """The store has lost the newest events of a chain. Nothing moves there until an operator has decided."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chain lies: of an alias, or of a model's gate policy."""

    tenant: str
    model: str
    chain: str

    @property
    def key(self) -> str:
        """Where its head lies in the store."""
        return layout.head(self.tenant, self.model, self.chain)

    def __str__(self) -> str:
        """Name it in messages."""
        return f"{self.tenant}/{self.model}/{self.chain}"


def alias_place(tenant: str, model: str, alias: str) -> Place:
    """Return the place of an alias's chain."""
    return Place(tenant, model, f"{ALIASES}/{alias}")


def policy_place(tenant: str, model: str) -> Place:
    """Return the place of a model's policy chain."""
    return Place(tenant, model, POLICIES)


def head_of(place: Place, link: Link) -> HeadRecord:
    """Return the head that names an event."""
    return HeadRecord(
        tenant=place.tenant,
        model=place.model,
        chain=place.chain,
        sequence=link.sequence,
        sha256=digest_of(link),
        head_time=time_of(link),
    )


def is_old(place: Place, links: Links, head: HeadRecord) -> bool:
    """Tell whether a head names another than the newest event of its chain, as far as that is in order.

    Args:
        place: The chain's.
        links: The chain as the store holds it, verified.
        head: A verified head of it.

    Raises:
        EventsLostError: the head names an event that is not there, or is another one.
    """
    if any(_accepts(link, head) for link in links):
        return True
    if head.sequence > len(links):
        lost = f"{len(links) + 1}" if head.sequence == len(links) + 1 else f"{len(links) + 1} to {head.sequence}"
        raise EventsLostError(
            f"{place}: event {lost} is gone from the store: the signed head names it. Nothing moves there until it is "
            "put back or its loss accepted: `dragoman repair`"
        )
    if digest_of(links[head.sequence - 1]) != head.sha256:
        raise EventsLostError(f"{place}: event {head.sequence} is another one than the signed head names")
    return head.sequence < len(links)


def digest_of(link: Link) -> str:
    """Return the digest by which the next event, and the head, name this one."""
    return hashlib.sha256(link.to_payload()).hexdigest()


def time_of(link: Link) -> datetime:
    """Return when it was written, by its own word."""
    return link.move_time if isinstance(link, AliasRecord) else link.set_time


def _accepts(link: Link, head: HeadRecord) -> bool:
    loss = link.accepted_loss
    if loss is None or not link.sequence <= head.sequence <= loss.sequence:
        return False
    # What is written after the acceptance takes the same sequences, at later times.
    return head.sha256 == loss.sha256 or head.head_time < time_of(link)
