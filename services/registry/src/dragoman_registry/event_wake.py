# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Woken by the news: what another registry wrote is taken in when the event log tells of it, not only by the next scan.

    dragoman.models -> which alias, which version? -> not known yet -> read it from the store, verified

The news is a bell. It says where to look, and nothing of it is believed; what it does not say, a scan finds.
"""

import asyncio
import logging
from contextlib import suppress

from dragoman.events.v1 import events_pb2
from dragoman_common.errors import DataLossError, DragomanError, InvalidArgumentError
from dragoman_common.names import check_name
from dragoman_events.message_event import message_of
from dragoman_events.ports import EventLog, Record
from dragoman_events.topics import MODELS
from dragoman_registry.catalog import Catalog
from dragoman_registry.model_version import ModelVersionNotFoundError

logger = logging.getLogger(__name__)

LOOK_S = 1.0
MAX_RECORDS = 500


class EventWake:
    """Follows the topic of models from its end on, as of the first look."""

    def __init__(self, log: EventLog, catalog: Catalog) -> None:
        """Take an open log."""
        self._log = log
        self._catalog = catalog
        self._next: dict[int, int] | None = None

    async def run(self) -> None:
        """Look every while, until cancelled; a log or a store that is away is waited for."""
        while True:
            try:
                await self.look()
            except DragomanError:
                logger.warning("news: not read; the scan finds what they would have told", exc_info=True)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Take in what was told since the last look.

        Raises:
            UnavailableError: the log or the store does not answer; the next look begins where this one did.
        """
        if self._next is None:
            self._next = await asyncio.to_thread(self._log.end_offsets, MODELS)
        for partition in self._next:
            while records := await asyncio.to_thread(
                self._log.read, MODELS, self._next[partition], MAX_RECORDS, partition=partition
            ):
                for record in records:
                    await self._take_in(record)
                self._next[partition] = records[-1].offset + 1

    async def _take_in(self, record: Record) -> None:
        try:
            message = _message(record)
            tenant = check_name(message.tenant, field="tenant")
            model = check_name(message.model, field="model")
            if isinstance(message, events_pb2.AliasMoved):
                check_name(message.alias, field="alias")
        except InvalidArgumentError:
            # Not of this registry's making, or of a kind that is not followed.
            return
        # What does not verify was logged by the catalogue.
        with suppress(DataLossError, ModelVersionNotFoundError):
            if isinstance(message, events_pb2.AliasMoved):
                if message.sequence > self._catalog.known_sequence(tenant, model, message.alias):
                    await self._catalog.followed_chain(tenant, model, message.alias)
            elif message.version not in self._catalog.known_numbers(tenant, model) and message.version > 0:
                await self._catalog.checked_version(tenant, model, message.version)


def _message(record: Record) -> events_pb2.AliasMoved | events_pb2.VersionPublished:
    event = record.event()
    if event.type == events_pb2.VersionPublished.DESCRIPTOR.full_name:
        return message_of(event, events_pb2.VersionPublished)
    return message_of(event, events_pb2.AliasMoved)
