# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""history, repair: where an alias pointed and why, a copy of it, and what is done when the store has lost its end."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dragoman.registry.v1 import registry_pb2
from dragoman_client.cli.documents import Document, alias_document
from dragoman_client.cli.models import ModelArgument
from dragoman_client.cli.output import note, print_json, print_table, say
from dragoman_client.cli.reason import check_reason
from dragoman_client.cli.registry_session import registry_of
from dragoman_client.cli.session import JsonOption, Session, session_of
from dragoman_client.cli.trust_documents import basis_document, evidence_document, policy_document, retracted_by
from dragoman_common.atomic import write_atomic
from dragoman_common.errors import AlreadyExistsError, InvalidArgumentError
from dragoman_models.fields import Fields
from dragoman_models.record_fields import canonical_json
from dragoman_text.strict_json import parse_object

COPY_FORMAT = "dragoman.alias-copy/1"
MAX_COPY_BYTES = 64 << 20
MAX_SENT_BYTES = 3 << 20

AliasArgument = Annotated[str, typer.Argument(help="The alias.")]


def history(
    ctx: typer.Context,
    model: ModelArgument,
    alias: AliasArgument,
    *,
    at: Annotated[
        str, typer.Option(help="A time (ISO 8601; UTC unless it says otherwise): only where it pointed then.")
    ] = "",
    save: Annotated[Path | None, typer.Option(help="Also keep the events as signed in this new file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Every move of an alias, oldest first, and why it was allowed."""
    session = session_of(ctx)
    at_time = _time(at) if at else None
    if save is not None and at:
        raise InvalidArgumentError("--save keeps the whole history: leave --at out")
    if save is not None and save.exists():
        raise AlreadyExistsError(f"{save} exists already")

    async def call() -> tuple[list[registry_pb2.AliasEvent], dict[str, Document]]:
        async with session.operator() as operator:
            if at_time is not None:
                events = [await operator.alias(model, alias, at=at_time)]
            else:
                events = await operator.alias_events(model, alias)
        return events, await _judged(session, model, events)

    found, evidence = asyncio.run(call())
    if save is not None:
        envelopes = [json.loads(event.record.envelope) for event in found]
        write_atomic(save, canonical_json({"format": COPY_FORMAT, "events": envelopes}), mode=0o644)
    events = [_event_document(event, evidence) for event in found]
    if as_json:
        print_json({"model": model, "alias": alias, "at": at or None, "events": events})
        return
    print_table(
        ("#", "version", "digest", "time", "by", "reason", "judged by"),
        (
            (
                e["sequence"],
                e["version"],
                e["root_sha256"][:12],
                e["move_time"],
                e["moved_by"],
                e["reason"],
                _judged_by(e),
            )
            for e in events
        ),
    )


def repair(
    ctx: typer.Context,
    model: ModelArgument,
    alias: Annotated[str | None, typer.Argument(help="The alias; none means the model's gate policy.")] = None,
    *,
    reason: Annotated[str, typer.Option(help="Kept where the loss is accepted.")],
    events: Annotated[Path | None, typer.Option(help="A copy made by `history --save`, to put back.")] = None,
    accept_loss: Annotated[bool, typer.Option("--accept-loss", help="No copy is left: go on without.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Decide about events that the store has lost: put them back, or accept the loss by an event that says so."""
    check_reason(reason)
    if (events is not None) == accept_loss:
        raise InvalidArgumentError("give a copy with --events, or say --accept-loss: one of the two")
    session = session_of(ctx)
    envelopes = _copied(events) if events else []

    async def call() -> Document:
        async with registry_of(session) as registry:
            reply = await registry.repair(model, alias or "", reason=reason, events=envelopes)
        if reply.HasField("policy"):
            return {"event": None, "policy": policy_document(reply.policy)}
        return {"event": _event_document(reply.event, {}), "policy": None}

    document = asyncio.run(call())
    if as_json:
        print_json(document)
        return
    newest = document["event"] or document["policy"]
    say(f"{model}{'@' + alias if alias else ' gate policy'} is at event {newest['sequence']}")
    if accept_loss:
        note("workers and gateways that have seen the lost events refuse the new ones until they are restarted")


def _event_document(event: registry_pb2.AliasEvent, evidence: dict[str, Document]) -> Document:
    loss = event.accepted_loss
    return {
        **alias_document(event),
        "gate_basis": basis_document(event.gate_basis, evidence) if event.HasField("gate_basis") else None,
        "accepted_loss": {"sequence": loss.sequence, "sha256": loss.sha256}
        if event.HasField("accepted_loss")
        else None,
    }


async def _judged(session: Session, model: str, events: Sequence[registry_pb2.AliasEvent]) -> dict[str, Document]:
    """The evidence that the events name, by digest: read once a version."""
    versions = sorted({item.version for event in events for item in event.gate_basis.evidence})
    found: dict[str, Document] = {}
    if versions:
        async with registry_of(session) as registry:
            for version in versions:
                evidence = await registry.evidence(model, version)
                retracted = retracted_by(evidence)
                found |= {item.digest: evidence_document(item, retracted) for item in evidence}
    return found


def _judged_by(event: Document) -> str:
    if event["accepted_loss"]:
        return f"accepts the loss up to event {event['accepted_loss']['sequence']}"
    basis = event["gate_basis"]
    if basis is None:
        return ""
    if basis["returned_sequence"]:
        return f"returns to event {basis['returned_sequence']}"
    policy = f"policy {basis['policy_sequence']}" if basis["policy_sequence"] else "defaults"
    retracted = sum(item["retracted_by"] is not None for item in basis["evidence"])
    since = f", {retracted} retracted" if retracted else ""
    return f"{policy}, {len(basis['evidence'])} pieces of evidence{since}"


def _copied(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        data = file.read(MAX_COPY_BYTES + 1)
    top = Fields(
        parse_object(data, what=path.name, max_bytes=MAX_COPY_BYTES), what=path.name, required=("format", "events")
    )
    top.text("format", choices=(COPY_FORMAT,))
    events = [canonical_json(item) for item in top.items("events", max_items=1_000_000) if isinstance(item, dict)]
    # The registry passes over what it has; of a long history only the end can be missing.
    size, kept = 0, len(events)
    while kept and size + len(events[kept - 1]) <= MAX_SENT_BYTES:
        kept -= 1
        size += len(events[kept])
    return events[kept:]


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        if "T" not in text and " " not in text.strip():
            # Midnight would answer, and be the day's start where its end was meant.
            raise InvalidArgumentError(f"--at {text!r} names a day only: add a time, for instance {text}T12:00:00Z")
    except ValueError:
        raise InvalidArgumentError(
            f"--at {text!r} is not an ISO 8601 time, for instance 2026-05-01T12:00:00Z"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
