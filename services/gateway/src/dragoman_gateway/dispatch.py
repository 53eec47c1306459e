# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Sends encoded rows to a worker, and once more when the first attempt found it away: scoring twice harms nobody.

EncodedRows -> Router.hold (a ready worker, the less loaded of two) -> Scorer.score -> scores
"""

import asyncio

from dragoman_common.errors import UnavailableError
from dragoman_gateway.ports import Budget, EncodedRows, Scorer, Scores
from dragoman_gateway.route import Router
from dragoman_gateway.version import ServedVersion
from dragoman_gateway.workers import WorkerTable

_RETRY_PAUSE_S = 0.05
"""Before the second attempt: long enough for a worker to report that its model process is gone."""


class Dispatcher:
    def __init__(self, router: Router, workers: WorkerTable, scorer: Scorer, budget: Budget) -> None:
        self._router = router
        self._workers = workers
        self._scorer = scorer
        self._budget = budget

    async def dispatch(self, version: ServedVersion, rows: EncodedRows) -> Scores:
        """Scores [N, C] from a worker that holds the version.

        Raises:
            VersionNotPlacedError: no worker will load the version, or all let it go meanwhile.
            UnavailableError: two attempts found their worker away, or none became ready.
        """
        address = await self._router.hold(version.key)
        try:
            return await self._attempt(address, version, rows)
        except UnavailableError:
            self._budget.check("the second attempt")
            await asyncio.sleep(_RETRY_PAUSE_S)
        return await self._attempt(await self._router.hold(version.key, avoid=address), version, rows)

    async def _attempt(self, address: str, version: ServedVersion, rows: EncodedRows) -> Scores:
        with self._workers.in_flight(address):
            return await self._scorer.score(address, version.key, rows)
