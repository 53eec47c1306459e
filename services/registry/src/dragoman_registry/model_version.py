# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One version: what a publisher may ask for, what is kept, and how it is signed and read back.

Owns the object under versions/<n>: the signed manifest and the model-signing bundle in one JSON document, because one
create must be the whole commit.

    PublishRequest, model.json -> VersionManifest -> sign -> object bytes        object bytes -> verify -> StoredVersion
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dragoman_common.errors import DataLossError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from dragoman_common.names import check_name
from dragoman_models.fields import Fields
from dragoman_models.file_digest import FileDigest, check_files, is_digest, root_sha256
from dragoman_models.package import (
    EVALUATION_FILE,
    MAX_MODEL_JSON_BYTES,
    MODEL_FILE,
    WEIGHTS_FILE,
    ModelConfig,
)
from dragoman_models.record import MAX_RECIPE_CHARS, Lineage, VersionManifest
from dragoman_models.record_fields import MAX_INTEGER, canonical_json
from dragoman_models.signing import SigningKey, sign_manifest, sign_model
from dragoman_models.tombstone import TombstoneRecord
from dragoman_models.verify import MAX_ENVELOPE_BYTES, VerifyingKeys, verify_manifest, verify_model_bundle
from dragoman_registry import layout
from dragoman_text.strict_json import parse_object

OBJECT_FORMAT = "dragoman.version-object/1"
# As a message a version repeats its manifest in up to three forms, and the message limit is 4 MiB.
MAX_MANIFEST_BYTES = 1 << 20
MAX_EVALUATION_FILE_BYTES = 16 << 20
_MAX_ID_CHARS = 256


class ModelVersionNotFoundError(NotFoundError):
    """The tenant's model has no such version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishRequest:
    """What a publisher asks for. A number of 0 takes the next one; files are in path order once checked."""

    tenant: str
    model: str
    publish_id: str
    number: int
    files: tuple[FileDigest, ...]
    lineage: Lineage
    publisher: str

    @property
    def root_sha256(self) -> str:
        return root_sha256(self.files)

    @property
    def intents(self) -> str:
        return layout.intents(self.tenant, self.model)

    @property
    def claims_of(self) -> str:
        return self.model


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredVersion:
    """A version as the store keeps it, verified."""

    manifest: VersionManifest
    envelope: bytes
    signature_bundle: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTombstone:
    """The word that a version is withdrawn, as the store keeps it, verified."""

    record: TombstoneRecord
    envelope: bytes


class VersionWithdrawnError(FailedPreconditionError):
    """The version is out of use for good."""

    def __init__(self, record: TombstoneRecord) -> None:
        """Say who withdrew it, and why."""
        super().__init__(
            f"version {record.version} of model {record.model} was withdrawn by {record.withdrawn_by}: {record.reason}"
        )


def check_request(request: PublishRequest, *, max_file_bytes: int, max_version_bytes: int) -> PublishRequest:
    """Return the request with its files in path order.

    Raises:
        InvalidArgumentError: a name, number, file, size or lineage field that is not allowed, or a package without
            model.json or weights.
    """
    check_name(request.model, field="model")
    check_name(request.publish_id, field="publish_id")
    if not 0 <= request.number <= MAX_INTEGER:
        raise InvalidArgumentError(f"number must be from 0 (the next one) to {MAX_INTEGER}")
    files = check_files(request.files)
    by_path = {file.path: file for file in files}
    if missing := [path for path in (MODEL_FILE, WEIGHTS_FILE) if path not in by_path]:
        raise InvalidArgumentError(f"files: a version needs {missing[0]}")
    limits = {MODEL_FILE: MAX_MODEL_JSON_BYTES, EVALUATION_FILE: MAX_EVALUATION_FILE_BYTES}
    for file in files:
        limit = min(max_file_bytes, limits.get(file.path, max_file_bytes))
        if file.size_bytes > limit:
            raise InvalidArgumentError(f"files: {file.path} has {file.size_bytes} bytes, the limit is {limit}")
    if (total := sum(file.size_bytes for file in files)) > max_version_bytes:
        raise InvalidArgumentError(f"files: {total} bytes in all, the limit is {max_version_bytes}")
    _check_lineage(request.lineage)
    return PublishRequest(
        tenant=request.tenant,
        model=request.model,
        publish_id=request.publish_id,
        number=request.number,
        files=files,
        lineage=request.lineage,
        publisher=request.publisher,
    )


def manifest_of(
    request: PublishRequest,
    config: ModelConfig,
    blake3_by_path: Mapping[str, str],
    *,
    number: int,
    publish_time: datetime,
    nonce: str,
) -> VersionManifest:
    """Describe the version that a request, its model.json and the second digests of its files make.

    Raises:
        InvalidArgumentError: model.json names a tokenizer file that is not among the files, or the manifest would be
            too large to be sent in one message.
    """
    if config.tokenizer.file not in {file.path for file in request.files}:
        raise InvalidArgumentError(f"files: {MODEL_FILE} names {config.tokenizer.file}, which is not among them")
    manifest = VersionManifest(
        tenant=request.tenant,
        model=request.model,
        number=number,
        root_sha256=request.root_sha256,
        files=request.files,
        task=config.task,
        architecture=config.architecture.name,
        labels=config.labels,
        input_limits=config.input_limits,
        tokenizer=config.tokenizer,
        publish_time=publish_time,
        publisher=request.publisher,
        publish_id=request.publish_id,
        nonce=nonce,
        lineage=request.lineage,
        blake3=tuple(blake3_by_path[file.path] for file in request.files),
    )
    if (size := len(manifest.to_payload())) > MAX_MANIFEST_BYTES:
        raise InvalidArgumentError(
            f"the version's manifest would have {size} bytes, the limit is {MAX_MANIFEST_BYTES}: "
            "its labels, file names and recipe are too long together"
        )
    return manifest


def sign_version(manifest: VersionManifest, key: SigningKey) -> StoredVersion:
    """Sign the record and the model."""
    return StoredVersion(
        manifest=manifest,
        envelope=sign_manifest(manifest, key),
        signature_bundle=sign_model(manifest.model, manifest.files, key),
    )


def version_object(version: StoredVersion) -> bytes:
    """Write the bytes that are kept under versions/<n>."""
    what = "version"
    return canonical_json(
        {
            "format": OBJECT_FORMAT,
            "manifest": parse_object(version.envelope, what=what, max_bytes=MAX_ENVELOPE_BYTES),
            "model_signature": parse_object(version.signature_bundle, what=what, max_bytes=MAX_ENVELOPE_BYTES),
        }
    )


def read_version_object(data: bytes, keys: VerifyingKeys, *, tenant: str, model: str, number: int) -> StoredVersion:
    """Verify the bytes found under versions/<n>.

    Raises:
        DataLossError: anything but what version_object wrote for exactly this version, signed by a trusted key.
    """
    what = f"{tenant}/{model}/versions/{number}"
    try:
        top = Fields(
            parse_object(data, what=what, max_bytes=3 * MAX_ENVELOPE_BYTES),
            what=what,
            required=("format", "manifest", "model_signature"),
        )
        top.text("format", choices=(OBJECT_FORMAT,))
        envelope, bundle = (_document(top, key) for key in ("manifest", "model_signature"))
    except InvalidArgumentError as error:
        raise DataLossError(str(error)) from error
    manifest = verify_manifest(envelope, keys, tenant=tenant, model=model, number=number)
    verify_model_bundle(bundle, keys, manifest)
    return StoredVersion(manifest=manifest, envelope=envelope, signature_bundle=bundle)


def file_named(files: Sequence[FileDigest], path: str) -> FileDigest | None:
    """Return the listed file of that path, or None."""
    return next((file for file in files if file.path == path), None)


def _document(fields: Fields, key: str) -> bytes:
    value = fields.raw(key)
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"{fields.what}: {key} must be an object")
    return canonical_json(value)


def _check_lineage(lineage: Lineage) -> None:
    if len(lineage.recipe) > MAX_RECIPE_CHARS:
        raise InvalidArgumentError(
            f"lineage.recipe has {len(lineage.recipe)} characters, the limit is {MAX_RECIPE_CHARS}"
        )
    for name in ("job_id", "code_revision"):
        if len(getattr(lineage, name)) > _MAX_ID_CHARS:
            raise InvalidArgumentError(f"lineage.{name} must have at most {_MAX_ID_CHARS} characters")
    if lineage.data_sha256 and not is_digest(lineage.data_sha256):
        raise InvalidArgumentError("lineage.data_sha256 must be empty or 64 lower-case hexadecimal digits")
    if not 0 <= lineage.parent_version <= MAX_INTEGER:
        raise InvalidArgumentError(f"lineage.parent_version must be from 0 (none) to {MAX_INTEGER}")
