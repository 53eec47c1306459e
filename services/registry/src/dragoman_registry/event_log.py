# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry's news on the event log: the ModelNews port over libs/events.

    manifest | record -> dragoman.events.v1 message -> CloudEvent -> dragoman.models

The log is synchronous and durable on return, so it is spoken to from a thread.
"""

import asyncio
from datetime import datetime

from google.protobuf.message import Message

from dragoman.events.v1 import events_pb2
from dragoman_events.message_event import event_of
from dragoman_events.ports import EventLog
from dragoman_events.topics import MODELS
from dragoman_models.record import AliasRecord, VersionManifest

SOURCE = "dragoman/registry"


class EventLogNews:
    """Appends to the topic of models; an event's id follows from what it tells, so a repeat is recognised."""

    def __init__(self, log: EventLog) -> None:
        """Take an open log."""
        self._log = log

    async def version_published(self, manifest: VersionManifest) -> None:
        message = events_pb2.VersionPublished(
            tenant=manifest.tenant,
            model=manifest.model,
            version=manifest.number,
            root_sha256=manifest.root_sha256,
            publisher=manifest.publisher,
        )
        message.publish_time.FromDatetime(manifest.publish_time)
        await self._append(message, manifest, version=manifest.number, time=manifest.publish_time)

    async def alias_moved(self, record: AliasRecord) -> None:
        message = events_pb2.AliasMoved(
            tenant=record.tenant,
            model=record.model,
            alias=record.alias,
            sequence=record.sequence,
            stable_version=record.stable_version,
            stable_root_sha256=record.stable_root_sha256,
            moved_by=record.moved_by,
            reason=record.reason,
        )
        message.move_time.FromDatetime(record.move_time)
        await self._append(message, record, version=record.stable_version, time=record.move_time)

    async def _append(
        self, message: Message, record: VersionManifest | AliasRecord, *, version: int, time: datetime
    ) -> None:
        event = event_of(
            message,
            source=SOURCE,
            subject=f"{record.model}/{version}",
            event_id=record.nonce,
            time=time,
            extensions={"tenant": record.tenant, "modelid": record.model, "modelversion": str(version)},
        )
        await asyncio.to_thread(self._log.append, MODELS, f"{record.tenant}/{record.model}".encode(), [event])


class NoNews:
    """For a registry without an event log: WatchAliases is then the only bell."""

    async def version_published(self, manifest: VersionManifest) -> None:
        """Tell nobody."""

    async def alias_moved(self, record: AliasRecord) -> None:
        """Tell nobody."""
