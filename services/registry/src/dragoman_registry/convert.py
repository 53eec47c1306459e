# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Protobuf messages to domain values and back. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import data_pb2 as data_pb
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.errors import InvalidArgumentError
from dragoman_models.file_digest import FileDigest
from dragoman_models.record import Lineage
from dragoman_registry.alias import StoredEvent
from dragoman_registry.basis_convert import basis_to_pb
from dragoman_registry.catalog import ModelEntry
from dragoman_registry.data_book import StoredDataSet
from dragoman_registry.model_version import StoredTombstone, StoredVersion
from dragoman_registry.upload import Chunk

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SECONDS = 253_402_300_799


def version_to_pb(version: StoredVersion, tombstone: StoredTombstone | None) -> pb.ModelVersion:
    manifest = version.manifest
    return pb.ModelVersion(
        tenant=manifest.tenant,
        model=manifest.model,
        number=manifest.number,
        root_sha256=manifest.root_sha256,
        files=[
            signed_pb2.FileDigest(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
            for file in manifest.files
        ],
        publish_time=time_to_pb(manifest.publish_time),
        publisher=manifest.publisher,
        task=manifest.task,
        architecture=manifest.architecture,
        labels=manifest.labels,
        input_limits=pb.InputLimits(
            max_text_bytes=manifest.input_limits.max_text_bytes, max_tokens=manifest.input_limits.max_tokens
        ),
        lineage=lineage_to_pb(manifest.lineage),
        manifest=signed_pb2.SignedRecord(envelope=version.envelope),
        signature_bundle=version.signature_bundle,
        tombstone=tombstone_to_pb(tombstone) if tombstone else None,
    )


def tombstone_to_pb(tombstone: StoredTombstone) -> pb.Tombstone:
    record = tombstone.record
    return pb.Tombstone(
        reason=record.reason,
        withdrawn_by=record.withdrawn_by,
        withdraw_time=time_to_pb(record.withdraw_time),
        record=signed_pb2.SignedRecord(envelope=tombstone.envelope),
    )


def event_to_pb(event: StoredEvent) -> pb.AliasEvent:
    record = event.record
    candidate, lost = record.candidate, record.accepted_loss
    return pb.AliasEvent(
        tenant=record.tenant,
        model=record.model,
        alias=record.alias,
        sequence=record.sequence,
        stable_version=record.stable_version,
        stable_root_sha256=record.stable_root_sha256,
        candidate_version=candidate.version if candidate else 0,
        candidate_root_sha256=candidate.root_sha256 if candidate else "",
        candidate_weight_percent=candidate.weight_basis_points / 100 if candidate else 0.0,
        shadow=record.shadow,
        reason=record.reason,
        gate_summary=record.gate_summary,
        moved_by=record.moved_by,
        move_time=time_to_pb(record.move_time),
        previous_sha256=record.previous_sha256,
        record=signed_pb2.SignedRecord(envelope=event.envelope),
        gate_basis=basis_to_pb(record.gate) if record.gate else None,
        accepted_loss=pb.LostEvent(sequence=lost.sequence, sha256=lost.sha256) if lost else None,
    )


def summary_to_pb(model: str, entry: ModelEntry) -> pb.ModelSummary:
    return pb.ModelSummary(
        model=model,
        num_versions=len(entry.versions),
        newest_version=max(entry.versions),
        aliases=[event_to_pb(event) for _, event in sorted(entry.aliases.items())],
    )


def lineage_to_pb(lineage: Lineage) -> pb.Lineage:
    return pb.Lineage(
        job_id=lineage.job_id,
        recipe=lineage.recipe,
        data_sha256=lineage.data_sha256,
        code_revision=lineage.code_revision,
        parent_version=lineage.parent_version,
    )


def lineage_from_pb(message: pb.Lineage) -> Lineage:
    return Lineage(
        job_id=message.job_id,
        recipe=message.recipe,
        data_sha256=message.data_sha256,
        code_revision=message.code_revision,
        parent_version=message.parent_version,
    )


def files_from_pb(messages: Sequence[signed_pb2.FileDigest]) -> tuple[FileDigest, ...]:
    return tuple(FileDigest(path=item.path, size_bytes=item.size_bytes, sha256=item.sha256) for item in messages)


def data_set_to_pb(stored: StoredDataSet) -> data_pb.DataSet:
    record = stored.record
    return data_pb.DataSet(
        tenant=record.tenant,
        name=record.name,
        number=record.number,
        sha256=record.sha256,
        files=[
            signed_pb2.FileDigest(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
            for file in record.files
        ],
        put_by=record.put_by,
        put_time=time_to_pb(record.put_time),
        record=signed_pb2.SignedRecord(envelope=stored.envelope),
    )


def chunk_from_pb(message: pb.FileChunk) -> Chunk:
    return Chunk(path=message.path, offset_bytes=message.offset_bytes, data=message.data)


def time_to_pb(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message


def time_from_pb(message: Timestamp, *, field: str) -> datetime:
    """Return the time, with anything below a microsecond cut off.

    Raises:
        InvalidArgumentError: outside of the years 1 to 9999, or a fraction outside of a second.
    """
    if not 0 <= message.nanos < 1_000_000_000 or not -62_135_596_800 <= message.seconds <= _MAX_SECONDS:
        raise InvalidArgumentError(f"{field} is not a time between the years 1 and 9999")
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
