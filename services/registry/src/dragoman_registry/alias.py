# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""An alias: one append-only chain of signed events, the newest of which is the alias.

Owns the rules of the chain and no I/O: what the next event says, where the alias pointed at a time, whether a move was
made before. The gate decides whether a move may happen (gate), promotion writes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dragoman_common.errors import AbortedError, InvalidArgumentError, NotFoundError
from dragoman_common.names import check_name
from dragoman_models.gate_basis import GateBasis
from dragoman_models.record import AliasRecord, VersionManifest
from dragoman_models.record_fields import MAX_REASON_CHARS
from dragoman_models.verify import VerifyingKeys, payload_sha256, verify_alias_event


class AliasNotFoundError(NotFoundError):
    """The tenant's model has no such alias, or had none at that time."""


class AliasMovedFirstError(AbortedError):
    """Another move took the place that this one was meant for. Read the alias again and decide anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A wish to point an alias to a version. An expected_sequence of None takes the alias as it is found."""

    tenant: str
    model: str
    alias: str
    version: int
    reason: str
    expected_sequence: int | None
    request_id: str
    moved_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvent:
    """An event as the store keeps it, verified."""

    record: AliasRecord
    envelope: bytes


Chain = Sequence[StoredEvent]


def check_move(move: Move) -> Move:
    """Return the move if its fields are allowed.

    Raises:
        InvalidArgumentError: a name, version, reason, sequence or request id that is not.
    """
    check_name(move.model, field="model")
    check_name(move.alias, field="alias")
    check_name(move.request_id, field="request_id")
    if move.version < 1:
        raise InvalidArgumentError("version must be at least 1")
    if move.expected_sequence is not None and move.expected_sequence < 0:
        raise InvalidArgumentError("expected_sequence must not be negative; 0 means that there is no event yet")
    if len(move.reason) > MAX_REASON_CHARS or not move.reason.isprintable():
        raise InvalidArgumentError(f"reason must be at most {MAX_REASON_CHARS} printable characters")
    return move


def extend_chain(
    chain: Chain, envelope: bytes, keys: VerifyingKeys, *, tenant: str, model: str, alias: str
) -> StoredEvent:
    """Verify the event that should follow a verified chain.

    Raises:
        DataLossError: it does not follow, or is not signed for this alias.
    """
    previous = chain[-1].record if chain else None
    record = verify_alias_event(
        envelope, keys, tenant=tenant, model=model, alias=alias, previous=previous, sequence=len(chain) + 1
    )
    return StoredEvent(record=record, envelope=envelope)


def accepting(chain: Chain, lost: StoredEvent) -> StoredEvent | None:
    """Return the event by which an operator accepted that the store has lost an event; None where it is not lost so."""
    sequence = lost.record.sequence
    if sequence <= len(chain) and chain[sequence - 1].record == lost.record:
        return None
    for event in chain:
        loss = event.record.accepted_loss
        if loss is not None and event.record.sequence <= sequence <= loss.sequence:
            return event
    return None


def made_before(chain: Chain, move: Move) -> StoredEvent | None:
    """Return the event that an earlier try of the same request wrote, if any.

    Raises:
        InvalidArgumentError: the request id belongs to a move to another version.
    """
    for event in reversed(chain):
        if event.record.request_id == move.request_id:
            if event.record.stable_version != move.version:
                raise InvalidArgumentError(
                    f"request_id {move.request_id} was used for a move to version {event.record.stable_version}"
                )
            return event
    return None


def check_expected(chain: Chain, move: Move) -> None:
    """Refuse a move that was decided on an older state.

    Raises:
        AliasMovedFirstError: the newest event is not the expected one.
    """
    if move.expected_sequence is not None and move.expected_sequence != len(chain):
        raise AliasMovedFirstError(
            f"{move.model}@{move.alias} is at event {len(chain)}, the move expected {move.expected_sequence}"
        )


def pointed_before(chain: Chain, version: VersionManifest) -> AliasRecord | None:
    """Return the newest event in which the alias pointed to exactly this content, if it ever did."""
    for event in reversed(chain):
        record = event.record
        if (record.stable_version, record.stable_root_sha256) == (version.number, version.root_sha256):
            return record
    return None


def next_record(
    chain: Chain,
    move: Move,
    version: VersionManifest,
    *,
    gate_summary: str,
    now: datetime,
    nonce: str,
    gate: GateBasis | None = None,
) -> AliasRecord:
    """Return the event that the move adds. Its time is never before its predecessor's, whatever the clock says."""
    previous = chain[-1].record if chain else None
    return AliasRecord(
        tenant=move.tenant,
        model=move.model,
        alias=move.alias,
        sequence=len(chain) + 1,
        stable_version=version.number,
        stable_root_sha256=version.root_sha256,
        moved_by=move.moved_by,
        move_time=max(now, previous.move_time) if previous else now,
        request_id=move.request_id,
        nonce=nonce,
        reason=move.reason,
        gate_summary=gate_summary,
        gate=gate,
        previous_sha256=payload_sha256(previous) if previous else "",
    )


def at_time(chain: Chain, time: datetime | None, *, what: str) -> StoredEvent:
    """Return the newest event that was written at or before a time; None means now.

    Raises:
        AliasNotFoundError: there was none yet.
    """
    for event in reversed(chain):
        if time is None or event.record.move_time <= time:
            return event
    raise AliasNotFoundError(f"{what} does not exist" if time is None or not chain else f"{what} did not exist then")
