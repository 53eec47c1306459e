# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Belief in signed records only after they are checked.

Owns the checks between an envelope that a store or a network returned and its use: the signature, the place that the
record claims, the chain of an alias. Every refusal is a DataLossError that names the object. Files are verify_files'.

    envelope -> signature by a trusted key -> payload -> strict parse -> the expected tenant, model, number -> manifest

A reader that also holds the version that is in production must not take an older answer for a newer one: AliasRecord's
sequence and previous_sha256 tell, see verify_alias_event.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.fields import Fields, JsonValue
from dragoman_models.gate_basis import LostEvent
from dragoman_models.model_signature import read_signed_model
from dragoman_models.record import (
    ALIAS_PAYLOAD_TYPE,
    VERSION_PAYLOAD_TYPE,
    AliasRecord,
    VersionManifest,
    parse_alias_record,
    parse_version_manifest,
)
from dragoman_models.record_fields import MAX_PAYLOAD_BYTES, canonical_json, payload_object, time_field
from dragoman_models.signing import model_bundle, model_statement
from dragoman_models.verifying_keys import RevokedKeyError, VerifyingKeys
from dragoman_text.strict_json import parse_object

__all__ = [
    "MAX_ENVELOPE_BYTES",
    "MAX_SIGNATURES",
    "RevokedKeyError",
    "VerifyingKeys",
    "accepts_loss_of",
    "payload_sha256",
    "verify_alias_event",
    "verify_envelope",
    "verify_manifest",
    "verify_model_bundle",
    "verify_record",
]

R = TypeVar("R")

MAX_ENVELOPE_BYTES = 2 * MAX_PAYLOAD_BYTES
MAX_SIGNATURES = 8
# What each kind of record calls the time at which it was made.
TIME_KEYS = frozenset({"publish_time", "move_time", "add_time", "set_time", "withdraw_time", "head_time"})


def verify_envelope(envelope: bytes, payload_type: str, keys: VerifyingKeys, *, what: str) -> bytes:
    """Return the payload of a DSSE envelope that a trusted key signed as this type.

    Args:
        envelope: JSON as sign_envelope writes it.
        payload_type: The only type accepted; an envelope of another type is refused, however well signed.
        keys: Trusted.
        what: Names the object in messages, such as ``acme/r8/versions/3``.

    Raises:
        DataLossError: not such an envelope, or no trusted signature over exactly these bytes.

    Source: DSSE v1.0.2; deviation: one trusted signature suffices, and a keyid, where given, must be that key's. It
    decides nothing, but a record of which any byte may change unseen would not be one.
    """
    try:
        top = Fields(
            parse_object(envelope, what=what, max_bytes=MAX_ENVELOPE_BYTES),
            what=what,
            required=("payloadType", "payload", "signatures"),
        )
        top.text("payloadType", choices=(payload_type,))
        return _signed_payload(top, payload_type, keys, what)
    except InvalidArgumentError as error:
        raise DataLossError(str(error)) from error


def verify_record(
    envelope: bytes,
    payload_type: str,
    keys: VerifyingKeys,
    parse: Callable[..., R],
    *,
    what: str,
    holds: str,
    place: Callable[[R], str],
) -> R:
    """Return the signed record that is expected at one place: what is signed and belongs elsewhere is refused.

    Args:
        envelope: JSON as sign_envelope writes it.
        payload_type: The only type accepted.
        keys: Trusted.
        parse: (payload, what=...) -> record; may raise InvalidArgumentError.
        what: The place, such as ``acme/r8/versions/3``.
        holds: Names the kind in messages, such as ``the signed head``.
        place: Where a record says that it belongs.

    Raises:
        DataLossError: no trusted signature, no such record, or one of another place.
    """
    payload = verify_envelope(envelope, payload_type, keys, what=what)
    try:
        record = parse(payload, what=what)
    except InvalidArgumentError as error:
        raise DataLossError(str(error)) from error
    if (found := place(record)) != what:
        raise DataLossError(f"{what}: holds {holds} {found}")
    return record


def verify_manifest(envelope: bytes, keys: VerifyingKeys, *, tenant: str, model: str, number: int) -> VersionManifest:
    """Return the manifest of exactly this version.

    Raises:
        DataLossError: no trusted signature, not a manifest, or the manifest of another tenant, model or number.
    """
    what = f"{tenant}/{model}/versions/{number}"
    return verify_record(
        envelope,
        VERSION_PAYLOAD_TYPE,
        keys,
        parse_version_manifest,
        what=what,
        holds="the signed manifest of",
        place=lambda record: f"{record.tenant}/{record.model}/versions/{record.number}",
    )


def verify_alias_event(
    envelope: bytes,
    keys: VerifyingKeys,
    *,
    tenant: str,
    model: str,
    alias: str,
    previous: AliasRecord | None = None,
    sequence: int | None = None,
) -> AliasRecord:
    """Return the alias event that is expected at this place.

    Args:
        envelope: The event as signed.
        keys: Trusted.
        tenant: Whose alias.
        model: The model.
        alias: The alias.
        previous: The event before it. When given, the event must continue exactly that one; a follower that has seen an
            event must pass it, or an old event could be replayed to it.
        sequence: The expected sequence, where it is known from the event's place.

    Raises:
        DataLossError: no trusted signature, not an alias event, another alias's event, or a broken chain.
    """
    what = f"{tenant}/{model}/aliases/{alias}"
    record = verify_record(
        envelope,
        ALIAS_PAYLOAD_TYPE,
        keys,
        parse_alias_record,
        what=what,
        holds="a signed event of",
        place=lambda record: f"{record.tenant}/{record.model}/aliases/{record.alias}",
    )
    if sequence is not None and record.sequence != sequence:
        raise DataLossError(f"{what}/{sequence}: holds the signed event {record.sequence}")
    if previous is not None and record.sequence != previous.sequence + 1:
        raise DataLossError(f"{what}: event {record.sequence} does not follow event {previous.sequence}")
    if previous is not None and record.previous_sha256 != payload_sha256(previous):
        raise DataLossError(f"{what}: event {record.sequence} names another predecessor than event {previous.sequence}")
    return record


def accepts_loss_of(record: AliasRecord, seen: AliasRecord) -> bool:
    """Tell whether an event was written because the store has lost exactly the event that a follower has seen.

    Such an event is no rollback by the store, though its sequence is not above the one seen: an operator decided, and
    the registry signed. A follower that gets it goes on from it.
    """
    return record.accepted_loss == LostEvent(sequence=seen.sequence, sha256=payload_sha256(seen))


def payload_sha256(record: AliasRecord) -> str:
    """Return the digest by which the next event names this one."""
    return hashlib.sha256(record.to_payload()).hexdigest()


def verify_model_bundle(bundle: bytes, keys: VerifyingKeys, manifest: VersionManifest) -> None:
    """Check that a model-signing bundle signs exactly the manifest's files, and is as signing.sign_model writes it.

    Any verifier of OpenSSF model signatures accepts more: other spellings of one content, fields that nobody reads. A
    record of which any byte may change unseen would not be one.

    Raises:
        DataLossError: not such a bundle, no trusted signature, or a statement about other files.
    """
    what = f"{manifest.tenant}/{manifest.model}/versions/{manifest.number}"
    try:
        signed = read_signed_model(bundle, keys)
    except DataLossError as error:
        raise DataLossError(f"{what}: {error.message}") from error
    if keys.may_be_revoked(signed.signer):
        keys.check_time(signed.signer, manifest.publish_time, what=f"{what}: model signature")
    if (signed.name, signed.files) != (manifest.model, {file.path: file.sha256 for file in manifest.files}):
        raise DataLossError(f"{what}: model signature: signs other files than the manifest lists")
    statement = canonical_json(model_statement(manifest.model, manifest.files))
    if bundle != model_bundle(statement, signed.signer, signed.signature):
        raise DataLossError(f"{what}: model signature: is not in the form in which it was signed")


def _signed_payload(fields: Fields, payload_type: str, keys: VerifyingKeys, what: str) -> bytes:
    payload = _unbase64(fields.raw("payload"), f"{what}: payload")
    signatures: Sequence[JsonValue] = fields.items("signatures", max_items=MAX_SIGNATURES)
    revoked: RevokedKeyError | None = None
    for entry in signatures:
        signature = Fields(entry, what=f"{what}: signatures", required=("sig",), optional=("keyid",))
        signer = keys.signer(payload_type, payload, _unbase64(signature.raw("sig"), f"{what}: sig"))
        if signer is not None and ("keyid" not in signature or signature.raw("keyid") in ("", signer)):
            if not keys.may_be_revoked(signer):
                return payload
            try:
                keys.check_time(signer, _record_time(payload_type, payload, what), what=what)
            except RevokedKeyError as error:
                revoked = error
                continue
            return payload
    raise revoked or DataLossError(f"{what}: no signature by a trusted key")


def _record_time(payload_type: str, payload: bytes, what: str) -> datetime:
    """Return the time that a record states, under the one name that its type has for it; other types have none."""
    content = payload_object(payload, what=what)
    times = {key: value for key, value in content.items() if key in TIME_KEYS}
    if len(times) != 1:
        raise InvalidArgumentError(f"{what}: a record of type {payload_type} states no single time")
    [key] = times
    return time_field(Fields(times, what=what, required=(key,)), key)


def _unbase64(value: JsonValue, what: str) -> bytes:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{what} must be base64 text")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgumentError(f"{what} must be base64 text") from error
    # The last character may hold bits that decoding drops: one content would have several texts.
    if base64.b64encode(data).decode("ascii") != value:
        raise InvalidArgumentError(f"{what} must be base64 text in its canonical form")
    return data
