# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which version answers a call, and which worker gets it.

    Selector -> Router.resolve -> Route(version, arm) -> Router.hold -> worker address

An alias that moved keeps answering with its old version until a worker is ready for the new one: a version that no
worker accepts (its bytes differ from what was signed) therefore never takes the traffic (stand_in.py). Rollout arms
will be drawn in `resolve`.
"""

import asyncio
import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from dragoman_common.clock import Clock
from dragoman_common.errors import DataLossError, OverloadedError, UnavailableError
from dragoman_gateway.aliases import AliasName, AliasTable, AliasTarget
from dragoman_gateway.held import HeldCalls
from dragoman_gateway.ports import AliasHistory, VersionCatalogue
from dragoman_gateway.selector import Selector
from dragoman_gateway.stand_in import StandIns
from dragoman_gateway.targets import PoolModels
from dragoman_gateway.version import (
    ModelNotFoundError,
    ServedVersion,
    VersionKey,
    VersionNotPlacedError,
    VersionWithdrawnError,
)
from dragoman_gateway.withdrawals import Withdrawals
from dragoman_gateway.workers import WorkerTable

STABLE = "stable"
_MAX_REFUSED = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """The version that answers, and the rollout arm it answers as."""

    version: ServedVersion
    arm: str = STABLE


class Router:
    """Aliases and workers, put together. `is_complete` turns true once all aliases that exist have been read."""

    def __init__(
        self,
        aliases: AliasTable,
        workers: WorkerTable,
        catalogue: VersionCatalogue,
        history: AliasHistory,
        *,
        withdrawals: Withdrawals,
        clock: Clock,
        pools: PoolModels,
        held: HeldCalls,
        max_hold_s: float,
        choice: random.Random,
        has_autoscaler: bool = False,
    ) -> None:
        self._withdrawals = withdrawals
        self._pools = pools
        self._held = held
        self._choice = choice
        self._has_autoscaler = has_autoscaler
        self._max_hold_s = max_hold_s
        self._aliases = aliases
        self._workers = workers
        self._catalogue = catalogue
        self._stand_ins = StandIns(workers, history, clock, withdrawals)
        # Why an alias has no target that could be believed; what is said of it comes from an unverified message.
        self._refused: dict[tuple[str, str, str], str] = {}
        self.is_complete = False

    def apply(self, target: AliasTarget, *, is_past_loss: bool = False) -> None:
        """Take in a verified alias event; see AliasTable.

        Raises:
            ChainBrokenError: it does not continue the chain; the alias stays where it was.
        """
        replaced = self._aliases.apply(target, is_past_loss=is_past_loss)
        self._refused.pop(target.name, None)
        if replaced is not None:
            self._stand_ins.moved(replaced, target)
        self._workers.announce()

    def seen(self) -> dict[AliasName, AliasTarget]:
        """The newest verified event of every alias, for a watch that goes on from there."""
        return self._aliases.seen()

    def doubt(self, names: Iterable[AliasName]) -> None:
        """The events of these aliases do not verify any more: they answer until the next one comes, whichever it is."""
        self._aliases.doubt(names)

    @property
    def doubted(self) -> frozenset[AliasName]:
        """The aliases whose newest event does not verify any more."""
        return self._aliases.doubted

    def refuse(self, tenant: str, model: str, alias: str, reason: str) -> None:
        """Remember that an event about this alias did not hold. An alias that has a verified target keeps it."""
        if len(self._refused) < _MAX_REFUSED:
            self._refused[tenant, model, alias] = reason

    async def resolve(self, tenant: str, selector: Selector) -> Route:
        """Find the version for a call.

        Raises:
            ModelNotFoundError: no such model, alias or version in this tenant.
            VersionWithdrawnError: the version was taken out of use.
            UnavailableError: the aliases have not all been read yet, or the registry is away.
            DataLossError: the alias's event, or its version, is not what the registry signed.
        """
        if selector.version is not None:
            return Route(version=await self._catalogue.get(tenant, selector.model, selector.version))
        target = self._aliases.find(tenant, selector.model, selector.alias)
        if target is None:
            refused = self._refused.get((tenant, selector.model, selector.alias))
            if refused is not None:
                raise DataLossError(refused)
            if not self.is_complete:
                raise UnavailableError("the gateway is still reading the aliases; send the call again")
            raise ModelNotFoundError(f"no model {selector.model!r} with an alias {selector.alias!r}")
        await self._stand_ins.recall(target)
        while True:
            key = self._stand_ins.answering(target)
            try:
                version = await self._catalogue.get(tenant, key.model, key.number, root_sha256=key.root_sha256)
            except VersionWithdrawnError:
                # Learnt just now; where it only stood in, another may, or the target's own state is the answer.
                if self._stand_ins.answering(target) == key:
                    raise
                continue
            return Route(version=version)

    async def hold(self, key: VersionKey, *, num_tokens: int = 0, tried: Collection[str] = ()) -> str:
        """The worker for the next attempt; while a wanted version is on its way, the call waits for it.

        The wait is bounded by the caller's own deadline around it, and by `max_hold_s` unless the call waits for a
        worker that an autoscaler is to start, or has started and that loads the version: that takes as long as it
        takes. `tried` are passed over where another worker is ready.

        Raises:
            VersionNotPlacedError: the version answers for no alias (any more), so no worker will load it.
            OverloadedError: as many calls wait as may.
            UnavailableError: the version did not become ready in time, or no worker can load it.
        """
        address = self._workers.choose(key, tried=tried)
        if address is not None:
            return address
        self._check_expected(key)
        pool = self._pools.pool_of(key)
        is_starting = (
            self._has_autoscaler
            and pool is not None
            and (not self._workers.has_ready_workers(pool) or "LOADING" in self._workers.states(key))
        )
        try:
            with self._held.held(key.tenant, pool, num_tokens):
                async with asyncio.timeout(None if is_starting else self._max_hold_s):
                    while True:
                        change = self._workers.next_change()
                        address = self._workers.choose(key, tried=tried)
                        if address is not None:
                            return address
                        self._check_expected(key)
                        await change.wait()
        except TimeoutError as error:
            raise UnavailableError(
                f"no worker became ready for {key.model} version {key.number} in {self._max_hold_s:g} s; try again"
            ) from error

    async def wait_for_room(
        self, key: VersionKey, refusal: OverloadedError, *, num_tokens: int, left_s: float | None, since_s: float
    ) -> None:
        """Wait out the delay of a worker that has refused, where an autoscaler can bring another meanwhile.

        Args:
            key: the version that is asked for.
            refusal: of the least loaded worker there is.
            num_tokens: of the call.
            left_s: the time that the call has left.
            since_s: when it was refused first, on the monotonic clock.

        Raises:
            OverloadedError: the refusal, where no worker can be expected or the call's time does not cover the delay;
                or as many calls wait as may.
        """
        delay_s = refusal.retry_after_s
        if not self._has_autoscaler or delay_s is None or left_s is None or left_s <= delay_s:
            raise refusal
        with self._held.held(key.tenant, self._pools.pool_of(key), num_tokens, since_s=since_s):
            # The delay is the time in which all that waits there is done: coming earlier finds a part of it gone.
            await asyncio.sleep(delay_s * self._choice.uniform(0.25, 1.0))

    def is_ready(self, tenant: str, selector: Selector) -> bool:
        """Whether a call by this selector would find a worker now.

        Raises:
            ModelNotFoundError: no such alias, or no worker and no alias knows the version.
        """
        keys = self._keys(tenant, selector)
        return any(self._workers.is_ready(key) for key in keys if key not in self._withdrawals)

    def aliases(self, tenant: str) -> Iterator[tuple[AliasTarget, bool]]:
        """The tenant's aliases, each with whether its newest target is ready."""
        return ((target, self._workers.is_ready(target.stable)) for target in self._aliases.of_tenant(tenant))

    def index(self, tenant: str) -> Iterator[tuple[VersionKey, str]]:
        """Every version that is held or pointed at, with its state: READY, LOADING, UNLOADING or UNAVAILABLE."""
        pointed_at = {target.stable for target in self._aliases.of_tenant(tenant)}
        keys = pointed_at | set(self._workers.versions(tenant))
        for key in sorted(keys, key=lambda key: (key.model, key.number, key.root_sha256)):
            states = [] if key in self._withdrawals else self._workers.states(key)
            yield key, _INDEX_STATES.get(states[0], "UNAVAILABLE") if states else "UNAVAILABLE"

    def _check_expected(self, key: VersionKey) -> None:
        targets = self._aliases.of_model(key.tenant, key.model)
        if all(self._stand_ins.answering(target) != key for target in targets):
            raise VersionNotPlacedError(
                f"no worker holds {key.model} version {key.number}; workers load the versions that aliases point at: "
                "ask for one of those, or point an alias at it"
            )
        if self._workers.states(key) == ["FAILED"]:
            raise UnavailableError(f"no worker could load {key.model} version {key.number}; RepositoryIndex lists them")

    def _keys(self, tenant: str, selector: Selector) -> list[VersionKey]:
        if selector.version is None:
            target = self._aliases.find(tenant, selector.model, selector.alias)
            if target is None:
                raise ModelNotFoundError(f"no model {selector.model!r} with an alias {selector.alias!r}")
            return [self._stand_ins.answering(target)]
        keys = [key for key, _ in self.index(tenant) if key.model == selector.model and key.number == selector.version]
        if not keys:
            raise ModelNotFoundError(f"no worker holds {selector.model} version {selector.version}")
        return keys


_INDEX_STATES = {"READY": "READY", "LOADING": "LOADING", "DRAINING": "UNLOADING"}
