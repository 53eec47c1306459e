# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where every alias points, by verified events. Pure bookkeeping; signatures are the registry client's business.

    verified event -> AliasTable.apply -> find(tenant, model, alias) -> AliasTarget

An event that does not continue the chain seen so far is refused and the table stays as it was. A stream that knew
nothing of what was seen begins with the newest event, so a gap is accepted; going back, or a second event at a known
place, is not.
A registry that shows less of an alias than was seen here has lost it, or hides it: what was seen holds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from dragoman_common.errors import DataLossError
from dragoman_gateway.version import VersionKey


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasTarget:
    """One verified event. `payload_sha256` is the digest of its signed payload, which the next event names."""

    alias: str
    sequence: int
    stable: VersionKey
    move_time: datetime
    payload_sha256: str
    previous_sha256: str

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

    def apply(self, target: AliasTarget) -> AliasTarget | None:
        """Take in an event; returns the one it replaced, or None for an alias not seen before or an event seen before.

        Raises:
            DataLossError: the event does not continue the chain.
        """
        known = self._targets.get(target.name)
        if known is not None:
            if target.payload_sha256 == known.payload_sha256:
                return None
            _check_continues(known, target)
        self._targets[target.name] = target
        return known

    def seen(self) -> dict[AliasName, int]:
        """The sequence of the newest event of every alias."""
        return {name: target.sequence for name, target in self._targets.items()}

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


def less_than_seen(seen: Mapping[AliasName, int], shown: Mapping[AliasName, int]) -> list[tuple[AliasName, int, int]]:
    """The aliases of which less is shown than was seen, each with the sequence seen and the one shown (0: none)."""
    return sorted(
        (name, sequence, shown.get(name, 0)) for name, sequence in seen.items() if shown.get(name, 0) < sequence
    )


def _check_continues(known: AliasTarget, target: AliasTarget) -> None:
    place = f"alias {target.stable.model}@{target.alias}, event {target.sequence}"
    if target.sequence <= known.sequence:
        raise DataLossError(f"{place}: event {known.sequence} is already known, and this is another one")
    if target.sequence == known.sequence + 1 and target.previous_sha256 != known.payload_sha256:
        raise DataLossError(f"{place}: it names another predecessor than the event that is known")
