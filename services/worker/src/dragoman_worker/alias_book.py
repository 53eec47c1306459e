# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where every alias points, believed only after the signature, the place and the chain hold.

Owns the newest verified event of each alias, what was refused, and the way back along a chain. Not what is done about
it (placement.py).

    update -> signature, place, not older than what was seen, continues it -> record of the alias | refused
    record -> the event before it, by the digest that the record names
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from dragoman_common.clock import Clock
from dragoman_common.errors import DataLossError
from dragoman_models.record import AliasRecord
from dragoman_models.verify import VerifyingKeys, payload_sha256, verify_alias_event
from dragoman_worker import audit
from dragoman_worker.alias_memory import MAX_ALIASES
from dragoman_worker.held_version import HeldVersion, State, VersionRef, failure_text
from dragoman_worker.ports import AliasKey, AliasUpdate, Registry

MAX_REFUSED = 64
MAX_SHOWN_CHARS = 128
"""Both: what was refused carries names that nobody signed, so whoever sends it chooses how many and how long."""


class AliasBook:
    """The aliases of every tenant."""

    def __init__(self, registry: Registry, keys: VerifyingKeys, clock: Clock) -> None:
        """Begin empty.

        Args:
            registry: Asked for earlier events only.
            keys: Whose signatures count.
            clock: For the times that are reported.
        """
        self._registry = registry
        self._keys = keys
        self._clock = clock
        self._records: dict[AliasKey, AliasRecord] = {}
        self._refused: OrderedDict[AliasKey, HeldVersion] = OrderedDict()

    @property
    def records(self) -> Mapping[AliasKey, AliasRecord]:
        """The newest verified event of each alias."""
        return self._records

    def seen(self) -> dict[AliasKey, int]:
        """The place of the newest verified event of each alias; of more than MAX_ALIASES, some are left out."""
        return {key: record.sequence for key, record in islice(self._records.items(), MAX_ALIASES)}

    def restore(self, records: Iterable[AliasRecord]) -> None:
        """Take over what was verified before this process began; what it has seen itself is newer."""
        for record in records:
            self._records.setdefault((record.tenant, record.model, record.alias), record)

    def refused(self) -> Iterator[HeldVersion]:
        """What the newest refused events claimed to point to; the oldest refusals are forgotten."""
        yield from self._refused.values()

    def take(self, update: AliasUpdate) -> AliasKey | None:
        """Believe an event, or refuse it and leave its alias where it is.

        Returns:
            The alias that has moved; None where nothing did.
        """
        key = (update.tenant, update.model, update.alias)
        try:
            record = self._verified(key, update.envelope)
        except DataLossError as error:
            self._refuse(update, error)
            return None
        self._refused.pop(_shown(key), None)
        has_moved = self._records.get(key) != record
        self._records[key] = record
        return key if has_moved else None

    async def before(self, record: AliasRecord) -> AliasRecord | None:
        """Return the event that an event has followed; None before the first.

        Raises:
            DataLossError: the registry has another event there than the one whose digest the record names.
            DragomanError: the registry is away.
        """
        if record.sequence == 1:
            return None
        tenant, model, alias = record.tenant, record.model, record.alias
        # By place in the chain, not by time: two events may share a time.
        envelope = await self._registry.alias_envelope(tenant, model, alias, record.sequence - 1)
        before = verify_alias_event(
            envelope, self._keys, tenant=tenant, model=model, alias=alias, sequence=record.sequence - 1
        )
        if payload_sha256(before) != record.previous_sha256:
            raise DataLossError(
                f"{tenant}/{model}/aliases/{alias}: event {record.sequence} names another predecessor than is kept"
            )
        return before

    def _verified(self, key: AliasKey, envelope: bytes) -> AliasRecord:
        """The event, if a trusted key signed it for this alias and it does not contradict what was seen."""
        tenant, model, alias = key
        record = verify_alias_event(envelope, self._keys, tenant=tenant, model=model, alias=alias)
        seen = self._records.get(key)
        if seen is None or seen == record:
            return record
        what = f"{tenant}/{model}/aliases/{alias}"
        if record.sequence <= seen.sequence:
            raise DataLossError(f"{what}: event {record.sequence} came after event {seen.sequence} was seen")
        # After a broken watch events may be missing between the two; the signature and the rising number must do then.
        if record.sequence == seen.sequence + 1 and record.previous_sha256 != payload_sha256(seen):
            raise DataLossError(f"{what}: event {record.sequence} does not continue the event seen before it")
        return record

    def _refuse(self, update: AliasUpdate, error: DataLossError) -> None:
        audit.refused(f"{update.tenant}/{update.model}/aliases/{update.alias}", failure_text(error))
        key = tenant, model, _ = _shown((update.tenant, update.model, update.alias))
        ref = VersionRef(tenant=tenant, model=model, number=update.stable_version, root_sha256="")
        refused = self._refused[key] = HeldVersion(ref, self._clock.now())
        refused.move(State.FAILED, self._clock.now(), failure_text(error)[:1024])
        self._refused.move_to_end(key)
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)


def refs_of(record: AliasRecord) -> frozenset[VersionRef]:
    """The versions that an event points to: the stable one and, if there is one, the candidate."""
    candidate = record.candidate
    if candidate is None:
        return frozenset({stable_of(record)})
    on_trial = VersionRef(
        tenant=record.tenant, model=record.model, number=candidate.version, root_sha256=candidate.root_sha256
    )
    return frozenset({stable_of(record), on_trial})


def stable_of(record: AliasRecord) -> VersionRef:
    """The version that answers."""
    return VersionRef(
        tenant=record.tenant,
        model=record.model,
        number=record.stable_version,
        root_sha256=record.stable_root_sha256,
    )


def _shown(key: AliasKey) -> AliasKey:
    tenant, model, alias = (name[:MAX_SHOWN_CHARS] for name in key)
    return tenant, model, alias
