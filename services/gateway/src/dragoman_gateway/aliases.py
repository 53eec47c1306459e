# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where every alias points, by verified events. Pure bookkeeping; signatures are the registry client's business.

    verified event -> AliasTable.apply -> find(tenant, model, alias) -> AliasTarget

An event that does not continue the chain seen so far is refused and the table stays as it was. A stream that knew
nothing of what was seen begins with the newest event, so a gap is accepted; going back, or a second event at a known
place, is not; unless it accepts the loss of exactly the event that was seen, by an operator's decision.
What was seen, and does not verify by newer keys, still answers; it is no longer held against what comes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from dragoman_common.errors import DataLossError
from dragoman_gateway.version import VersionKey
from dragoman_models.gate_basis import LostEvent


class ChainBrokenError(DataLossError):
    """A verified event contradicts what was seen of its alias."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasTarget:
    """One verified event. `payload_sha256` is the digest of its signed payload, which the next event names."""

    alias: str
    sequence: int
    stable: VersionKey
    move_time: datetime
    payload_sha256: str
    previous_sha256: str
    accepted_loss: LostEvent | None = None
    """Set where an operator accepted that the registry has lost the events from this place to that one."""

    @property
    def as_lost(self) -> LostEvent:
        """How an event that accepts the loss of this one names it."""
        return LostEvent(sequence=self.sequence, sha256=self.payload_sha256)

    @property
    def name(self) -> tuple[str, str, str]:
        """(tenant, model, alias)."""
        return (self.stable.tenant, self.stable.model, self.alias)


AliasName = tuple[str, str, str]
"""Tenant, model, alias."""


class AliasTable:
    """The newest event of each alias."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str, str], AliasTarget] = {}
        self._doubted: set[AliasName] = set()

    def apply(self, target: AliasTarget, *, is_past_loss: bool = False) -> AliasTarget | None:
        """Take in an event; returns the one it replaced, or None for an alias not seen before or an event seen before.

        Args:
            target: the event.
            is_past_loss: it comes after one that accepts the loss of what was seen.

        Raises:
            ChainBrokenError: the event does not continue the chain.
        """
        known = self._targets.get(target.name)
        if known is not None:
            if target.payload_sha256 == known.payload_sha256:
                self._doubted.discard(target.name)
                return None
            if not is_past_loss and target.name not in self._doubted:
                _check_continues(known, target)
        self._doubted.discard(target.name)
        self._targets[target.name] = target
        return known

    def seen(self) -> dict[AliasName, AliasTarget]:
        """The newest event of every alias, but for those in doubt."""
        return {name: target for name, target in self._targets.items() if name not in self._doubted}

    def doubt(self, names: Iterable[AliasName]) -> None:
        """Hold these aliases' events against nothing any more: a stolen key must not decide what comes after them."""
        self._doubted.update(name for name in names if name in self._targets)

    @property
    def doubted(self) -> frozenset[AliasName]:
        """The aliases whose newest event is in doubt, and still answers."""
        return frozenset(self._doubted)

    def find(self, tenant: str, model: str, alias: str) -> AliasTarget | None:
        return self._targets.get((tenant, model, alias))

    def of_tenant(self, tenant: str) -> Iterator[AliasTarget]:
        """The tenant's aliases, by model and alias."""
        for (owner, _, _), target in sorted(self._targets.items()):
            if owner == tenant:
                yield target

    def of_model(self, tenant: str, model: str) -> Iterator[AliasTarget]:
        """The model's aliases."""
        return (target for target in self.of_tenant(tenant) if target.stable.model == model)


def _check_continues(known: AliasTarget, target: AliasTarget) -> None:
    place = f"alias {target.stable.model}@{target.alias}, event {target.sequence}"
    if target.accepted_loss == known.as_lost:
        return
    if target.sequence <= known.sequence:
        raise ChainBrokenError(f"{place}: event {known.sequence} is already known, and this is another one")
    if target.sequence == known.sequence + 1 and target.previous_sha256 != known.payload_sha256:
        raise ChainBrokenError(f"{place}: it names another predecessor than the event that is known")
