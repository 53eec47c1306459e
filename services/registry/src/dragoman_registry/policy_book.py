# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Setting a model's gate policy and reading it: one create adds a signed record to the chain policies/<sequence>."""

import asyncio
import hashlib
import logging
import secrets
from collections import OrderedDict

from dragoman_common.clock import Clock
from dragoman_common.errors import DataLossError, FailedPreconditionError
from dragoman_models.policy_record import PolicyRecord, sign_policy, verify_policy
from dragoman_models.signing import SigningKey
from dragoman_models.verify import VerifyingKeys
from dragoman_registry import layout
from dragoman_registry.catalog import Catalog
from dragoman_registry.chain_head import policy_place
from dragoman_registry.gate_policy import (
    PolicyChain,
    PolicyChange,
    PolicyChangedFirstError,
    PolicyNotFoundError,
    StoredPolicy,
    next_policy,
    set_before,
)
from dragoman_registry.heads import Heads
from dragoman_registry.ports import ObjectExistsError, ObjectNotFoundError, ObjectStore
from dragoman_registry.settled import create_settled
from dragoman_registry.signed_object import read_signed

logger = logging.getLogger(__name__)

MAX_CHANGES = 1000
MAX_REMEMBERED = 10_000


class PolicyBook:
    """The policies of every model."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        keys: VerifyingKeys,
        catalog: Catalog,
        heads: Heads,
        key: SigningKey,
        clock: Clock,
    ) -> None:
        """Wire the parts; nothing is read or written."""
        self._store = store
        self._keys = keys
        self._catalog = catalog
        self._heads = heads
        self._key = key
        self._clock = clock
        self._verified: OrderedDict[tuple[str, bytes, PolicyRecord | None], PolicyRecord] = OrderedDict()

    async def chain(self, tenant: str, model: str) -> PolicyChain:
        """Return every record of a model's policy, oldest first; empty when it has none.

        Raises:
            DataLossError: the chain does not verify, or its newest event is gone.
        """
        place = policy_place(tenant, model)
        heads = await self._heads.read(place)
        try:
            chain = await self.kept_chain(tenant, model)
            await self._heads.hold(place, [policy.record for policy in chain], heads)
        except DataLossError as error:
            logger.error("a record does not verify", extra={"reason": error.message})  # noqa: TRY400 - no defect of ours
            raise
        return chain

    async def at(self, tenant: str, model: str, sequence: int) -> StoredPolicy:
        """Return a record by its sequence; 0 means the newest.

        Raises:
            PolicyNotFoundError: there is none.
        """
        chain = await self.chain(tenant, model)
        if not chain:
            raise PolicyNotFoundError(f"model {model} has no gate policy; its aliases are held to the defaults")
        if sequence > len(chain):
            raise PolicyNotFoundError(
                f"the gate policy of model {model} has {len(chain)} events, none of that sequence"
            )
        return chain[sequence - 1]

    async def change(self, change: PolicyChange) -> StoredPolicy:
        """Set the policy.

        Args:
            change: As check_change returned it.

        Raises:
            ModelVersionNotFoundError: there is no such model.
            PolicyChangedFirstError: another change came first.
            FailedPreconditionError: the policy was changed as often as it may be.
        """
        self._catalog.versions(change.tenant, change.model)
        chain = await self.chain(change.tenant, change.model)
        if (earlier := set_before(chain, change)) is not None:
            return earlier
        if len(chain) >= MAX_CHANGES:
            raise FailedPreconditionError(f"the policy of {change.model} was changed {MAX_CHANGES} times, the limit")
        record = next_policy(chain, change, now=self._clock.now(), nonce=secrets.token_hex(16))
        envelope = await asyncio.to_thread(sign_policy, record, self._key)
        try:
            await create_settled(
                self._store, layout.policy_record(record.tenant, record.model, record.sequence), envelope
            )
        except ObjectExistsError:
            raise PolicyChangedFirstError(f"another change wrote event {record.sequence} first") from None
        await self._heads.advance(
            policy_place(record.tenant, record.model), [*(policy.record for policy in chain), record]
        )
        logger.info(
            "gate policy set",
            extra={"tenant": record.tenant, "model": record.model, "sequence": record.sequence, "by": record.set_by},
        )
        return StoredPolicy(record=record, envelope=envelope)

    def forget(self) -> None:
        """Verify every record again at its next read: the keys that count have changed."""
        self._verified.clear()

    async def kept_chain(self, tenant: str, model: str) -> list[StoredPolicy]:
        """Return every change of a model's gate policy as the store holds it, whatever its head says.

        Raises:
            DataLossError: a record is missing, is not this model's, or does not continue the one before it.
        """
        length = len(await self._store.names_below(layout.policies(tenant, model)))
        chain: list[StoredPolicy] = []
        for sequence in range(1, length + 1):
            key = layout.policy_record(tenant, model, sequence)
            try:
                data = await read_signed(self._store, self._keys, key)
            except ObjectNotFoundError:
                raise DataLossError(f"{tenant}/{model}/policies/{sequence}: is missing") from None
            previous = chain[-1].record if chain else None
            seen = (key, hashlib.sha256(data).digest(), previous)
            if seen not in self._verified:
                self._verified[seen] = verify_policy(data, self._keys, tenant=tenant, model=model, previous=previous)
                if len(self._verified) > MAX_REMEMBERED:
                    self._verified.popitem(last=False)
            chain.append(StoredPolicy(record=self._verified[seen], envelope=data))
        return chain
