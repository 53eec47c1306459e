# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry's news on the event log: the ModelNews port over libs/events.

    manifest | record -> dragoman.events.v1 message -> CloudEvent -> dragoman.models

The log is synchronous and durable on return, so it is spoken to from a thread.
"""

import asyncio

from google.protobuf.timestamp_pb2 import Timestamp

from dragoman.events.v1 import events_pb2
from dragoman_events.cloud_event import CloudEvent
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
        publish_time = Timestamp()
        publish_time.FromDatetime(manifest.publish_time)
        message = events_pb2.VersionPublished(
            tenant=manifest.tenant,
            model=manifest.model,
            version=manifest.number,
            root_sha256=manifest.root_sha256,
            publisher=manifest.publisher,
            publish_time=publish_time,
        )
        event = event_of(
            message,
            source=SOURCE,
            subject=f"{manifest.model}/{manifest.number}",
            event_id=manifest.nonce,
            time=manifest.publish_time,
            extensions={
                "tenant": manifest.tenant,
                "modelid": manifest.model,
                "modelversion": str(manifest.number),
            },
        )
        await self._append(manifest.tenant, manifest.model, event)

    async def alias_moved(self, record: AliasRecord) -> None:
        move_time = Timestamp()
        move_time.FromDatetime(record.move_time)
        message = events_pb2.AliasMoved(
            tenant=record.tenant,
            model=record.model,
            alias=record.alias,
            sequence=record.sequence,
            stable_version=record.stable_version,
            stable_root_sha256=record.stable_root_sha256,
            moved_by=record.moved_by,
            reason=record.reason,
            move_time=move_time,
        )
        event = event_of(
            message,
            source=SOURCE,
            subject=f"{record.model}/{record.stable_version}",
            event_id=record.nonce,
            time=record.move_time,
            extensions={
                "tenant": record.tenant,
                "modelid": record.model,
                "modelversion": str(record.stable_version),
            },
        )
        await self._append(record.tenant, record.model, event)

    async def _append(self, tenant: str, model: str, event: CloudEvent) -> None:
        await asyncio.to_thread(self._log.append, MODELS, f"{tenant}/{model}".encode(), [event])


class NoNews:
    """For a registry without an event log: WatchAliases is then the only bell."""

    async def version_published(self, manifest: VersionManifest) -> None:
        """Tell nobody."""

    async def alias_moved(self, record: AliasRecord) -> None:
        """Tell nobody."""
