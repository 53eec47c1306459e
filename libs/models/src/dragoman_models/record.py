# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the registry signs: a version's manifest and an alias's event, as canonical JSON.

Owns the two payloads, their types and their strict parsing. It does not sign (signing), does not check signatures
(verify), and does not know where an envelope is kept.

    VersionManifest | AliasRecord -> to_payload -> bytes to sign        payload bytes -> parse -> record
"""

from dataclasses import asdict, dataclass, field
from datetime import datetime

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.fields import Fields, JsonValue
from dragoman_models.file_digest import MAX_FILE_BYTES, MAX_FILES, FileDigest, check_files, is_digest, root_sha256
from dragoman_models.gate_basis import GateBasis, LostEvent, parse_gate_basis, parse_lost_event
from dragoman_models.package import MAX_LABELS, InputLimits, TokenizerFile
from dragoman_models.record_fields import (
    MAX_INTEGER,
    canonical,
    canonical_json,
    payload_object,
    sha256_field,
    text_value,
    time_field,
    time_text,
)

VERSION_FORMAT = "dragoman.version/1"
# Format 2 has a second digest of every file, which a load checks several times as fast (docs/decisions/0018). As with
# alias events it is a format of its own; a manifest without the digests is written in format 1.
VERSION_FORMAT_2 = "dragoman.version/2"
# Format 2 says why the gate let the move pass. It is a format of its own, not an optional key of the first, because a
# format has one exact set of keys: a reader that does not know of the basis refuses the event by its format's name
# instead of believing half of it, and whether an event may lack the basis does not depend on who wrote it. An event
# without either of the new parts is written in format 1, so every record has one byte form, and old chains stay valid.
ALIAS_FORMAT = "dragoman.alias-event/1"
ALIAS_FORMAT_2 = "dragoman.alias-event/2"
_ALIAS_2_KEYS = ("gate", "accepted_loss")
VERSION_PAYLOAD_TYPE = "application/vnd.dragoman.version.v1+json"
ALIAS_PAYLOAD_TYPE = "application/vnd.dragoman.alias-event.v1+json"

MAX_RECIPE_CHARS = 64 << 10
FULL_WEIGHT_BASIS_POINTS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where a version came from; every field may be empty, parent_version is 0 for none."""

    job_id: str = ""
    recipe: str = ""
    data_sha256: str = ""
    code_revision: str = ""
    parent_version: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionManifest:
    """One version of one model of one tenant, and every file of it.

    Attributes:
        number: Counts from 1 within the model.
        root_sha256: Follows from files; see file_digest.root_sha256.
        labels: In the order of the scores.
        publish_id: The publisher's own id of this publish.
        nonce: Drawn by the writer, who knows its own write by it when a reply was lost.
        blake3: Of files, in their order, in lower-case hex; empty in format 1. The registry computed them from the very
            bytes whose SHA-256 it checked.
    """

    tenant: str
    model: str
    number: int
    root_sha256: str
    files: tuple[FileDigest, ...]
    task: str
    architecture: str
    labels: tuple[str, ...]
    input_limits: InputLimits
    tokenizer: TokenizerFile
    publish_time: datetime
    publisher: str
    publish_id: str
    nonce: str
    lineage: Lineage = field(default_factory=Lineage)
    blake3: tuple[str, ...] = ()

    @property
    def blake3_by_path(self) -> dict[str, str]:
        """The second digest of every file, or of none."""
        return {file.path: digest for file, digest in zip(self.files, self.blake3, strict=True)} if self.blake3 else {}

    def to_payload(self) -> bytes:
        """Write the canonical JSON."""
        content = asdict(self)
        if not self.blake3:
            del content["blake3"]
        name = VERSION_FORMAT_2 if self.blake3 else VERSION_FORMAT
        return canonical_json({**content, "format": name, "publish_time": time_text(self.publish_time)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """The version on trial beside the stable one, with its share of calls in hundredths of a percent."""

    version: int
    root_sha256: str
    weight_basis_points: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasRecord:
    """One move of an alias.

    Attributes:
        sequence: Counts from 1 within the alias, without gaps.
        shadow: The candidate gets copies of calls; its answers are not seen.
        previous_sha256: SHA-256 in hex of the previous event's payload; empty for the first.
        request_id: The caller's own id of this move; a retry carries the same.
        nonce: See VersionManifest.
        gate: What the gate held the move to; None for what did not go through it, and for events of format 1.
        accepted_loss: Set where an operator accepted that the store has lost the events from this place to that one.
    """

    tenant: str
    model: str
    alias: str
    sequence: int
    stable_version: int
    stable_root_sha256: str
    moved_by: str
    move_time: datetime
    request_id: str
    nonce: str
    candidate: Candidate | None = None
    shadow: bool = False
    reason: str = ""
    gate_summary: str = ""
    previous_sha256: str = ""
    gate: GateBasis | None = None
    accepted_loss: LostEvent | None = None

    def to_payload(self) -> bytes:
        """Write the canonical JSON."""
        content = asdict(self)
        is_second = self.gate is not None or self.accepted_loss is not None
        if not is_second:
            for key in _ALIAS_2_KEYS:
                del content[key]
        name = ALIAS_FORMAT_2 if is_second else ALIAS_FORMAT
        return canonical_json({**content, "format": name, "move_time": time_text(self.move_time)})


def parse_version_manifest(payload: bytes, *, what: str) -> VersionManifest:
    """Read a version's payload.

    Args:
        payload: The bytes that were signed.
        what: Names the object in messages.

    Raises:
        InvalidArgumentError: not the one byte form of a manifest: a key unknown, missing or mistyped, another format,
            file names that may not exist, or a root digest that does not follow from the files.
    """
    content = payload_object(payload, what)
    is_second = content.get("format") == VERSION_FORMAT_2
    keys = [key for key in VersionManifest.__dataclass_fields__ if is_second or key != "blake3"]
    top = Fields(content, what=what, required=(*keys, "format"))
    top.text("format", choices=(VERSION_FORMAT, VERSION_FORMAT_2))
    limits = Fields(
        top.raw("input_limits"), what=f"{what}: input_limits", required=tuple(InputLimits.__dataclass_fields__)
    )
    tokenizer = Fields(
        top.raw("tokenizer"), what=f"{what}: tokenizer", required=tuple(TokenizerFile.__dataclass_fields__)
    )
    manifest = VersionManifest(
        tenant=top.text("tenant"),
        model=top.text("model"),
        number=top.integer("number", low=1, high=MAX_INTEGER),
        root_sha256=sha256_field(top, "root_sha256"),
        files=check_files((_file(item, what) for item in top.items("files", max_items=MAX_FILES)), what=what),
        task=top.text("task"),
        architecture=top.text("architecture"),
        labels=tuple(text_value(item, f"{what}: labels") for item in top.items("labels", max_items=MAX_LABELS)),
        input_limits=InputLimits(
            max_text_bytes=limits.integer("max_text_bytes", low=1, high=MAX_INTEGER),
            max_tokens=limits.integer("max_tokens", low=1, high=MAX_INTEGER),
        ),
        tokenizer=TokenizerFile(backend=tokenizer.text("backend"), file=tokenizer.text("file")),
        publish_time=time_field(top, "publish_time"),
        publisher=top.text("publisher", max_chars=1024),
        publish_id=top.text("publish_id"),
        nonce=top.text("nonce"),
        lineage=_lineage(top.raw("lineage"), what),
        blake3=_blake3(top, what) if is_second else (),
    )
    if is_second and len(manifest.blake3) != len(manifest.files):
        raise InvalidArgumentError(f"{what}: blake3 must have one digest for each of files")
    if manifest.root_sha256 != root_sha256(manifest.files):
        raise InvalidArgumentError(f"{what}: root_sha256 does not follow from the files")
    return canonical(manifest, payload, what)


def parse_alias_record(payload: bytes, *, what: str) -> AliasRecord:
    """Read an alias event's payload.

    Raises:
        InvalidArgumentError: not the one byte form of an alias event.
    """
    content = payload_object(payload, what)
    is_second = content.get("format") == ALIAS_FORMAT_2
    keys = [key for key in AliasRecord.__dataclass_fields__ if is_second or key not in _ALIAS_2_KEYS]
    top = Fields(content, what=what, required=(*keys, "format"))
    top.text("format", choices=(ALIAS_FORMAT, ALIAS_FORMAT_2))
    record = AliasRecord(
        tenant=top.text("tenant"),
        model=top.text("model"),
        alias=top.text("alias"),
        sequence=top.integer("sequence", low=1, high=MAX_INTEGER),
        stable_version=top.integer("stable_version", low=1, high=MAX_INTEGER),
        stable_root_sha256=sha256_field(top, "stable_root_sha256"),
        moved_by=top.text("moved_by", max_chars=1024),
        move_time=time_field(top, "move_time"),
        request_id=top.text("request_id"),
        nonce=top.text("nonce"),
        candidate=_candidate(top.raw("candidate"), what),
        shadow=top.flag("shadow"),
        reason=text_value(top.raw("reason"), f"{what}: reason"),
        gate_summary=text_value(top.raw("gate_summary"), f"{what}: gate_summary"),
        previous_sha256=sha256_field(top, "previous_sha256", may_be_empty=True),
        gate=parse_gate_basis(top.raw("gate"), what=what) if is_second else None,
        accepted_loss=parse_lost_event(top.raw("accepted_loss"), what=what) if is_second else None,
    )
    if record.accepted_loss and record.accepted_loss.sequence < record.sequence:
        raise InvalidArgumentError(f"{what}: accepts the loss of an event that came before it")
    if (record.sequence == 1) != (record.previous_sha256 == ""):
        raise InvalidArgumentError(f"{what}: the first event, and only the first, has no previous_sha256")
    return canonical(record, payload, what)


def _file(value: JsonValue, what: str) -> FileDigest:
    fields = Fields(value, what=f"{what}: files", required=tuple(FileDigest.__dataclass_fields__))
    return FileDigest(
        path=fields.text("path"),
        size_bytes=fields.integer("size_bytes", low=0, high=MAX_FILE_BYTES),
        sha256=sha256_field(fields, "sha256"),
    )


def _blake3(top: Fields, what: str) -> tuple[str, ...]:
    digests = tuple(text_value(item, f"{what}: blake3") for item in top.items("blake3", max_items=MAX_FILES))
    if not all(map(is_digest, digests)):
        raise InvalidArgumentError(f"{what}: blake3 must hold digests of 64 lower-case hexadecimal digits")
    return digests


def _lineage(value: JsonValue, what: str) -> Lineage:
    fields = Fields(value, what=f"{what}: lineage", required=tuple(Lineage.__dataclass_fields__))
    return Lineage(
        job_id=text_value(fields.raw("job_id"), f"{what}: job_id"),
        recipe=text_value(fields.raw("recipe"), f"{what}: recipe"),
        data_sha256=sha256_field(fields, "data_sha256", may_be_empty=True),
        code_revision=text_value(fields.raw("code_revision"), f"{what}: code_revision"),
        parent_version=fields.integer("parent_version", low=0, high=MAX_INTEGER),
    )


def _candidate(value: JsonValue, what: str) -> Candidate | None:
    if value is None:
        return None
    fields = Fields(value, what=f"{what}: candidate", required=tuple(Candidate.__dataclass_fields__))
    return Candidate(
        version=fields.integer("version", low=1, high=MAX_INTEGER),
        root_sha256=sha256_field(fields, "root_sha256"),
        weight_basis_points=fields.integer("weight_basis_points", low=0, high=FULL_WEIGHT_BASIS_POINTS),
    )
