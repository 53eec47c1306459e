# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Questions about models: which there are, which are ready, what one looks like. The servicers' common ground."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from dragoman_gateway.limits import Limits
from dragoman_gateway.policy import Principal, authorise
from dragoman_gateway.ports import VersionCatalogue
from dragoman_gateway.route import Router
from dragoman_gateway.selector import Selector
from dragoman_gateway.version import ServedVersion, VersionKey, VersionWithdrawnError


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedAlias:
    """An alias, the version that it points at, and whether a worker is ready for it."""

    alias: str
    version: ServedVersion
    is_ready: bool


class ModelDirectory:
    """Answers only about models that the principal may ask."""

    def __init__(self, router: Router, catalogue: VersionCatalogue, limits: Limits) -> None:
        self._limits = limits
        self._router = router
        self._catalogue = catalogue

    async def aliases(self, principal: Principal) -> list[ServedAlias]:
        """All aliases of the principal's models, by model and alias."""
        found = []
        for target, is_ready in self._router.aliases(principal.tenant):
            key = target.stable
            if principal.can_ask(key.model):
                try:
                    version = await self._catalogue.get(key.tenant, key.model, key.number, root_sha256=key.root_sha256)
                except VersionWithdrawnError:
                    # The registry lets no alias point at one; one that does all the same hides no other.
                    continue
                found.append(ServedAlias(alias=target.alias, version=version, is_ready=is_ready))
        return found

    def index(self, principal: Principal) -> Iterator[tuple[VersionKey, str]]:
        """Every version that is held or pointed at, with its OIP state."""
        return (entry for entry in self._router.index(principal.tenant) if principal.can_ask(entry[0].model))

    def is_ready(self, principal: Principal, selector: Selector) -> bool:
        """Whether a call would find a worker now.

        Raises:
            PermissionDeniedError: the principal may not ask this model.
            ModelNotFoundError: there is no such model, alias or version.
        """
        authorise(principal, selector.model)
        return self._router.is_ready(principal.tenant, selector)

    async def describe(self, principal: Principal, selector: Selector) -> tuple[ServedVersion, list[int]]:
        """The version that would answer, and the numbers of all versions that are held or pointed at.

        Raises:
            PermissionDeniedError: the principal may not ask this model.
            ModelNotFoundError: there is no such model, alias or version.
        """
        authorise(principal, selector.model)
        route = await self._router.resolve(principal.tenant, selector)
        numbers = {key.number for key, _ in self._router.index(principal.tenant) if key.model == selector.model}
        return route.version, sorted(numbers | {route.version.key.number})

    def properties(self, version: ServedVersion) -> dict[str, str]:
        """What the protocol's metadata has no field for. `labels` is a JSON list in the order of the scores."""
        return {
            "task": version.task,
            "architecture": version.architecture,
            "labels": json.dumps(list(version.labels), ensure_ascii=False),
            "max_text_bytes": str(min(version.max_text_bytes, self._limits.max_text_bytes)),
            "max_tokens": str(version.max_tokens),
            "root_sha256": version.key.root_sha256,
            "version": str(version.key.number),
        }
