# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Garbage collection without being asked: every tenant's, once a period.

Two registries that do so at once do each other no harm (publish_intent); the jitter only keeps them from doing the same
work at the same time.
"""

import asyncio
import logging
import random

from dragoman_common.errors import DataLossError, DragomanError
from dragoman_registry.garbage import CollectionRunningError, Collector

logger = logging.getLogger(__name__)


async def collect_forever(collector: Collector, period_s: float) -> None:
    """Collect every period, a quarter sooner or later, until cancelled; a period of 0 never does.

    A tenant whose records do not verify is passed over and logged; a store that is away is waited for.
    """
    while period_s > 0:
        await asyncio.sleep(period_s * random.uniform(0.75, 1.25))  # noqa: S311 - spreads load, guards nothing
        try:
            for tenant in await collector.tenants():
                await _collect(collector, tenant)
        except DragomanError:
            logger.warning("garbage: the store does not answer; the next period tries again", exc_info=True)


async def _collect(collector: Collector, tenant: str) -> None:
    try:
        await collector.collect(tenant, dry_run=False)
    except CollectionRunningError:
        logger.info("garbage: somebody has asked for this tenant's collection already", extra={"tenant": tenant})
    except DataLossError as error:
        extra = {"tenant": tenant, "reason": error.message}
        logger.error("garbage: not collected, a record does not verify", extra=extra)  # noqa: TRY400 - no defect of ours
