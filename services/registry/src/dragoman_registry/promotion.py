# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Moving an alias: the gate decides, one create writes.

check -> verified chain -> same request before? -> expected? -> gate -> sign -> create <sequence> -> followers
                                                                                -> head -> log
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from weakref import WeakValueDictionary

from dragoman_common.clock import Clock
from dragoman_common.errors import DragomanError, FailedPreconditionError
from dragoman_models.evidence_document import EVALUATION, parse_evaluation_document
from dragoman_models.gate_basis import GateBasis
from dragoman_models.gate_rule import GateRule
from dragoman_models.policy_record import policy_sha256
from dragoman_models.record import VersionManifest
from dragoman_models.signing import SigningKey, sign_alias_record
from dragoman_registry import layout
from dragoman_registry.alias import (
    AliasMovedFirstError,
    Chain,
    Move,
    StoredEvent,
    check_expected,
    made_before,
    next_record,
    pointed_before,
)
from dragoman_registry.catalog import Catalog
from dragoman_registry.chain_head import alias_place
from dragoman_registry.evidence import StoredEvidence
from dragoman_registry.gate import Contender, GateRefusedError
from dragoman_registry.gate_evidence import counting, judged
from dragoman_registry.gate_policy import DefaultRules, rule_for_move
from dragoman_registry.gate_rules import judge
from dragoman_registry.heads import Heads
from dragoman_registry.model_version import VersionWithdrawnError
from dragoman_registry.policy_book import PolicyBook
from dragoman_registry.ports import ModelNews, ObjectExistsError, ObjectStore
from dragoman_registry.record_reader import RecordReader
from dragoman_registry.settled import create_settled

logger = logging.getLogger(__name__)

MAX_ALIASES = 100
MAX_SUMMARY_CHARS = 2000


class Promotion:
    """Moves aliases. Of several movers from one state, in this process or others, one wins."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        reader: RecordReader,
        catalog: Catalog,
        heads: Heads,
        key: SigningKey,
        news: ModelNews,
        clock: Clock,
        policies: PolicyBook,
        defaults: DefaultRules,
    ) -> None:
        """Wire the parts; nothing is read or written."""
        self._store = store
        self._reader = reader
        self._catalog = catalog
        self._heads = heads
        self._key = key
        self._news = news
        self._clock = clock
        self._policies = policies
        self._defaults = defaults
        # Saves racing movers of one process from collisions that mean nothing; safety rests on the store alone.
        self._turns: WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = WeakValueDictionary()

    async def move(self, move: Move) -> StoredEvent:
        """Point an alias to a version.

        Args:
            move: As check_move returned it.

        Raises:
            ModelVersionNotFoundError: no such version.
            VersionWithdrawnError: it is out of use.
            GateRefusedError: with the measurements.
            AliasMovedFirstError: another move came first.
            DataLossError: the alias's chain or the version does not verify.
        """
        async with self._turns.setdefault((move.tenant, move.model, move.alias), asyncio.Lock()):
            version = (await self._catalog.checked_version(move.tenant, move.model, move.version)).manifest
            chain = await self._catalog.checked_chain(move.tenant, move.model, move.alias)
            if (earlier := made_before(chain, move)) is not None:
                return earlier
            await self._refuse_withdrawn(version)
            check_expected(chain, move)
            await self._refuse_too_many(chain, move)
            try:
                summary, basis = await self._gate(move, chain, version)
            except GateRefusedError as error:
                logger.info("move refused", extra={"model": move.model, "alias": move.alias, "reason": error.message})
                raise
            event = await self._append(chain, move, version, summary, basis)
            try:
                # Whoever withdraws a version looks at the aliases before and after; this is the other half of that.
                await self._refuse_withdrawn(version)
            except VersionWithdrawnError:
                await self.take_back([*chain, event])
                raise
        await self._announce(event)
        return event

    async def _refuse_withdrawn(self, version: VersionManifest) -> None:
        if (tombstone := await self._catalog.checked_tombstone(version)) is not None:
            raise VersionWithdrawnError(tombstone.record)

    async def _refuse_too_many(self, chain: Chain, move: Move) -> None:
        if not chain and len(await self._store.names_below(layout.aliases(move.tenant, move.model))) >= MAX_ALIASES:
            raise FailedPreconditionError(f"model {move.model} has {MAX_ALIASES} aliases, which is the limit")

    async def _append(
        self, chain: Chain, move: Move, version: VersionManifest, summary: str, basis: GateBasis | None
    ) -> StoredEvent:
        record = next_record(
            chain,
            move,
            version,
            gate_summary=summary[:MAX_SUMMARY_CHARS],
            gate=basis,
            now=self._clock.now(),
            nonce=secrets.token_hex(16),
        )
        envelope = await asyncio.to_thread(sign_alias_record, record, self._key)
        key = layout.alias_event(move.tenant, move.model, move.alias, record.sequence)
        try:
            await create_settled(self._store, key, envelope)
        except ObjectExistsError:
            raise AliasMovedFirstError(
                f"{move.model}@{move.alias}: another move wrote event {record.sequence} first"
            ) from None
        event = StoredEvent(record=record, envelope=envelope)
        self._catalog.learn_event(event)
        place = alias_place(move.tenant, move.model, move.alias)
        await self._heads.advance(place, [*(before.record for before in chain), record])
        return event

    async def take_back(self, chain: Chain) -> None:
        """Undo the newest move, to a version that was withdrawn meanwhile; a first move has nothing to go back to.

        Raises:
            AliasMovedFirstError: the alias has moved on since.
        """
        if len(chain) == 1:
            return
        before, taken = chain[-2].record, chain[-1].record
        version = (await self._catalog.checked_version(before.tenant, before.model, before.stable_version)).manifest
        move = Move(
            tenant=before.tenant,
            model=before.model,
            alias=before.alias,
            version=version.number,
            reason=f"version {taken.stable_version} was withdrawn while the alias was moved to it",
            expected_sequence=taken.sequence,
            request_id=secrets.token_hex(16),
            moved_by="registry:registry",
        )
        await self._announce(await self._append(chain, move, version, f"returns to version {version.number}", None))

    async def _gate(self, move: Move, chain: Chain, version: VersionManifest) -> tuple[str, GateBasis]:
        policies = await self._policies.chain(move.tenant, move.model)
        rule = rule_for_move(policies, self._defaults, alias=move.alias, mover=move.moved_by)
        basis = GateBasis(
            policy_sequence=len(policies),
            policy_sha256=policy_sha256(policies[-1].record) if policies else "",
            rule=rule,
            evidence=(),
        )
        if (record := pointed_before(chain, version)) is not None:
            # A way back must not depend on evidence about what is broken now.
            summary = f"returns to version {version.number}, which event {record.sequence} of this alias pointed to"
            return summary, replace(basis, returned_sequence=record.sequence)
        evidence = await self._reader.evidence(version)
        contender = partial(self._contender, rule=rule, publisher=version.publisher, mover=move.moved_by)
        candidate, production, before = await contender(version, evidence), None, None
        if chain:
            now = chain[-1].record.stable_version
            manifest = (await self._catalog.checked_version(move.tenant, move.model, now)).manifest
            before = (manifest, await self._reader.evidence(manifest))
            production = await contender(*before)
        summary = await asyncio.to_thread(judge, rule, candidate, production, mover=move.moved_by)
        held = f"policy {len(policies)}" if policies else "default policy"
        return f"{held}: {summary or 'nothing asked'}", replace(
            basis, evidence=judged(rule, (version, evidence), before)
        )

    async def _contender(
        self,
        manifest: VersionManifest,
        evidence: Sequence[StoredEvidence],
        *,
        rule: GateRule,
        publisher: str,
        mover: str,
    ) -> Contender:
        counts = counting(evidence, rule, publisher=publisher, mover=mover)
        added = [
            item
            for stored in counts
            if stored.record.kind == EVALUATION
            for item in await asyncio.to_thread(parse_evaluation_document, stored.record.document)
        ]
        packaged = await self._reader.evaluations(manifest)
        return Contender(manifest=manifest, evaluations=(*packaged, *added), evidence=counts)

    async def _announce(self, event: StoredEvent) -> None:
        record = event.record
        place = {"tenant": record.tenant, "model": record.model, "alias": record.alias, "sequence": record.sequence}
        logger.info("alias moved", extra={**place, "version": record.stable_version})
        try:
            await self._news.alias_moved(record)
        except DragomanError:
            # The move stands: the store is the truth, and WatchAliases has told the followers already.
            logger.exception("event lost: AliasMoved", extra=place)
