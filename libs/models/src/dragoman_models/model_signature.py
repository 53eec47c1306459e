# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""OpenSSF model signatures: a bundle, whoever signed it, checked and read.

The one reader of such bundles: the registry's own go through it (verify.verify_model_bundle, which also holds them to
their one form), and so do the official vectors and those of other signers (tests/conformance). Method "files" over
SHA-256 only; shards, symbolic links, certificates and bundles from before version 1.0 are refused. It reads no file of
the model.

    bundle -> media type -> DSSE signature -> the key that it names -> in-toto statement -> root digest -> SignedModel
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.file_digest import is_digest
from dragoman_models.signing import (
    BUNDLE_MEDIA_TYPE,
    IN_TOTO_PAYLOAD_TYPE,
    MODEL_SIGNATURE_TYPE,
    STATEMENT_TYPE,
)
from dragoman_text.strict_json import parse_object

MAX_BUNDLE_BYTES = 16 << 20
MAX_RESOURCES = 100_000
_WHAT = "model signature"


class Signers(Protocol):
    """The keys whose signatures count."""

    def signer(self, payload_type: str, payload: bytes, signature: bytes) -> str | None:
        """Return the id (SHA-256 of the PEM) of the key that signed this type and payload; None if none of these."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedModel:
    """What a model signature says: SHA-256 by path, and the paths that the signer left out; and whose it is."""

    signer: str
    signature: bytes
    name: str
    root_sha256: str
    files: Mapping[str, str]
    ignored: frozenset[str]


def read_signed_model(bundle: bytes, keys: Signers) -> SignedModel:
    """Return what a bundle says, once its signature has been checked.

    Raises:
        DataLossError: no model signature, or not by one of these keys.

    Source: OpenSSF Model Signing 1.0, section 8; deviation: ignored paths and the order of files are taken as the
    reference implementation writes them (paths may be relative to the folder's parent; segment order).
    """
    try:
        top = parse_object(bundle, what=_WHAT, max_bytes=MAX_BUNDLE_BYTES)
        if top.get("mediaType") != BUNDLE_MEDIA_TYPE:
            raise DataLossError(f"{_WHAT}: mediaType must be {BUNDLE_MEDIA_TYPE}")
        payload, signature = _payload_and_signature(top.get("dsseEnvelope"))
        signer = keys.signer(IN_TOTO_PAYLOAD_TYPE, payload, signature)
        if signer is None:
            raise DataLossError(f"{_WHAT}: no signature by a trusted key")
        _check_named(top.get("verificationMaterial"), signer)
        statement = parse_object(payload, what=f"{_WHAT}: statement", max_bytes=MAX_BUNDLE_BYTES)
    except InvalidArgumentError as error:
        raise DataLossError(error.message) from error
    return _signed_model(statement, signer, signature)


def _payload_and_signature(envelope: object) -> tuple[bytes, bytes]:
    signatures = envelope.get("signatures") if isinstance(envelope, dict) else None
    if not isinstance(envelope, dict) or not isinstance(signatures, list) or len(signatures) != 1:
        raise DataLossError(f"{_WHAT}: dsseEnvelope must hold exactly one signature")
    if envelope.get("payloadType") != IN_TOTO_PAYLOAD_TYPE or not isinstance(signatures[0], dict):
        raise DataLossError(f"{_WHAT}: payloadType must be {IN_TOTO_PAYLOAD_TYPE}")
    return _unbase64(envelope.get("payload")), _unbase64(signatures[0].get("sig"))


def _check_named(material: object, signer: str) -> None:
    named = material.get("publicKey") if isinstance(material, dict) else None
    if not isinstance(named, dict):
        raise DataLossError(f"{_WHAT}: is not by a key: verificationMaterial names no publicKey")
    hint, raw = named.get("hint"), named.get("rawBytes")
    if hint is None and raw is None:
        raise DataLossError(f"{_WHAT}: publicKey holds neither hint nor rawBytes")
    if hint not in (None, signer) or (raw is not None and hashlib.sha256(_unbase64(raw)).hexdigest() != signer):
        raise DataLossError(f"{_WHAT}: names another key than the one that signed")


def _signed_model(statement: Mapping[str, object], signer: str, signature: bytes) -> SignedModel:
    if (statement.get("_type"), statement.get("predicateType")) != (STATEMENT_TYPE, MODEL_SIGNATURE_TYPE):
        raise DataLossError(f"{_WHAT}: the statement is of another type")
    subjects, predicate = statement.get("subject"), statement.get("predicate")
    if not isinstance(subjects, list) or len(subjects) != 1 or not isinstance(predicate, dict):
        raise DataLossError(f"{_WHAT}: the statement must have one subject and a predicate")
    match subjects[0], predicate.get("serialization"), predicate.get("resources"):
        case (
            {"name": str(name), "digest": {"sha256": str(root)}},
            {"method": "files", "hash_type": "sha256", "allow_symlinks": False, **rest},
            [_, *_] as resources,
        ) if name and "shard_size" not in rest and len(resources) <= MAX_RESOURCES:
            files = _resources(resources)
            if root != hashlib.sha256(b"".join(map(bytes.fromhex, files.values()))).hexdigest():
                raise DataLossError(f"{_WHAT}: the subject's digest does not follow from the files")
            return SignedModel(
                signer=signer,
                signature=signature,
                name=name,
                root_sha256=root,
                files=files,
                ignored=_ignored(rest.get("ignore_paths", [])),
            )
    raise DataLossError(f"{_WHAT}: only whole files by SHA-256, without links, are read: {json.dumps(predicate)[:200]}")


def _resources(resources: Collection[object]) -> dict[str, str]:
    files: dict[str, str] = {}
    for resource in resources:
        match resource:
            case {"name": str(name), "digest": str(digest), "algorithm": "sha256"} if is_digest(digest):
                if name in files or (name != "." and not _is_plain(name)):
                    raise DataLossError(f"{_WHAT}: {name[:200]!r} is no path, or listed twice")
                files[name] = digest
            case _:
                raise DataLossError(f"{_WHAT}: a resource lacks its name, its SHA-256 or its algorithm")
    return files


def _ignored(paths: object) -> frozenset[str]:
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise DataLossError(f"{_WHAT}: ignore_paths must be a list of paths")
    # The reference implementation writes what it was given, so a path may lead out of the folder; that ignores nothing.
    return frozenset(path for path in paths if _is_plain(path))


def _is_plain(path: str) -> bool:
    return all(part not in ("", ".", "..") for part in path.split("/"))


def _unbase64(value: object) -> bytes:
    if not isinstance(value, str):
        raise DataLossError(f"{_WHAT}: what must be base64 text is none")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise DataLossError(f"{_WHAT}: what must be base64 text is none") from None
