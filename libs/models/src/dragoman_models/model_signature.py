# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""OpenSSF model signatures by a key, as any signer makes them, against a folder.

Owns reading a bundle of somebody else's making: keys on three curves, files that the signer left out. What the registry
itself signs has one form and is held to it by verify.verify_model_bundle. Method "files" over SHA-256 only; shards,
symbolic links, certificates and bundles from before version 1.0 are refused.

    bundle -> media type, key -> DSSE signature -> in-toto statement -> root digest -> exactly the signed files
"""

import base64
import binascii
import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.file_digest import is_sha256
from dragoman_models.signing import (
    BUNDLE_MEDIA_TYPE,
    IN_TOTO_PAYLOAD_TYPE,
    MODEL_SIGNATURE_TYPE,
    STATEMENT_TYPE,
    pre_authentication_encoding,
    public_pem,
)
from dragoman_models.verify_files import READ_BYTES
from dragoman_text.strict_json import parse_object

MAX_BUNDLE_BYTES = 16 << 20
MAX_RESOURCES = 100_000
ALWAYS_IGNORED = frozenset({".git", ".gitignore", ".gitattributes", ".github"})
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_WHAT = "model signature"


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedModel:
    """What a model signature says: SHA-256 by path, and the paths that the signer left out."""

    name: str
    root_sha256: str
    files: Mapping[str, str]
    ignored: frozenset[str]


def verify_signed_folder(
    path: Path, bundle: bytes, key: ec.EllipticCurvePublicKey, *, ignored: Collection[str] = ()
) -> SignedModel:
    """Check that a model is what its signature says, neither more nor less.

    Args:
        path: A folder, or the single file that is the model.
        bundle: The signature file.
        key: Whose signature counts.
        ignored: Paths below the folder that need not be signed, beside those that the signer left out.

    Returns:
        What was signed.

    Raises:
        DataLossError: the signature does not hold, a file is missing, has other bytes, is a link or was not signed.

    Source: OpenSSF Model Signing 1.0, section 8; deviation: ignored paths and the order of files are taken as the
    reference implementation writes them (paths may be relative to the folder's parent; segment order).
    """
    signed = read_signed_model(bundle, key)
    if stat.S_ISREG(path.lstat().st_mode):
        # Before 1.1 a model of one file was signed under the name of its folder.
        listed = {path.name if name == "." else name: digest for name, digest in signed.files.items()}
        found = {path.name: path}
    else:
        listed = dict(signed.files)
        found = dict(_files(path, signed.ignored | ALWAYS_IGNORED | frozenset(ignored)))
    if difference := sorted(listed.keys() ^ found.keys()):
        state = "is not signed" if difference[0] in found else "is missing"
        raise DataLossError(f"{_WHAT}: {difference[0][:200]!r} {state}")
    for name, expected in listed.items():
        if _sha256(found[name]) != expected:
            raise DataLossError(f"{_WHAT}: the bytes of {name[:200]!r} are not those that were signed")
    return signed


def read_signed_model(bundle: bytes, key: ec.EllipticCurvePublicKey) -> SignedModel:
    """Return what a bundle says, once its signature has been checked.

    Raises:
        DataLossError: no model signature, or not by this key.
    """
    try:
        top = parse_object(bundle, what=_WHAT, max_bytes=MAX_BUNDLE_BYTES)
        if top.get("mediaType") != BUNDLE_MEDIA_TYPE:
            raise DataLossError(f"{_WHAT}: mediaType must be {BUNDLE_MEDIA_TYPE}")
        _check_hint(top.get("verificationMaterial"), key)
        payload = _signed_payload(top.get("dsseEnvelope"), key)
        return _statement(parse_object(payload, what=f"{_WHAT}: statement", max_bytes=MAX_BUNDLE_BYTES))
    except InvalidArgumentError as error:
        raise DataLossError(error.message) from error


def _check_hint(material: object, key: ec.EllipticCurvePublicKey) -> None:
    named = material.get("publicKey") if isinstance(material, dict) else None
    if not isinstance(named, dict):
        raise DataLossError(f"{_WHAT}: is not by a key: verificationMaterial names no publicKey")
    pem = public_pem(key)
    hint, raw = named.get("hint"), named.get("rawBytes")
    if hint is None and raw is None:
        raise DataLossError(f"{_WHAT}: publicKey holds neither hint nor rawBytes")
    if hint is not None and hint != hashlib.sha256(pem).hexdigest():
        raise DataLossError(f"{_WHAT}: is by another key")
    if raw is not None and _unbase64(raw) != pem:
        raise DataLossError(f"{_WHAT}: is by another key")


def _signed_payload(envelope: object, key: ec.EllipticCurvePublicKey) -> bytes:
    signatures = envelope.get("signatures") if isinstance(envelope, dict) else None
    if not isinstance(envelope, dict) or not isinstance(signatures, list) or len(signatures) != 1:
        raise DataLossError(f"{_WHAT}: dsseEnvelope must hold exactly one signature")
    if envelope.get("payloadType") != IN_TOTO_PAYLOAD_TYPE or not isinstance(signatures[0], dict):
        raise DataLossError(f"{_WHAT}: payloadType must be {IN_TOTO_PAYLOAD_TYPE}")
    algorithm = _HASHES.get(key.curve.name)
    if algorithm is None:
        raise DataLossError(f"{_WHAT}: keys on curve {key.curve.name} do not count")
    payload = _unbase64(envelope.get("payload"))
    try:
        key.verify(
            _unbase64(signatures[0].get("sig")),
            pre_authentication_encoding(IN_TOTO_PAYLOAD_TYPE, payload),
            ec.ECDSA(algorithm),
        )
    except InvalidSignature:
        raise DataLossError(f"{_WHAT}: the key did not sign this") from None
    return payload


def _statement(statement: Mapping[str, object]) -> SignedModel:
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
            return SignedModel(name=name, root_sha256=root, files=files, ignored=_ignored(rest.get("ignore_paths", [])))
    raise DataLossError(f"{_WHAT}: only whole files by SHA-256, without links, are read: {json.dumps(predicate)[:200]}")


def _resources(resources: Collection[object]) -> dict[str, str]:
    files: dict[str, str] = {}
    for resource in resources:
        match resource:
            case {"name": str(name), "digest": str(digest), "algorithm": "sha256"} if is_sha256(digest):
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


def _files(root: Path, ignored: frozenset[str]) -> Iterator[tuple[str, Path]]:
    pending = [""]
    while pending:
        prefix = pending.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                path = f"{prefix}{entry.name}"
                if path in ignored:
                    continue
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    pending.append(f"{path}/")
                elif stat.S_ISREG(mode):
                    yield path, root / path
                else:
                    raise DataLossError(f"{_WHAT}: {path[:200]!r} is a link or no plain file")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _unbase64(value: object) -> bytes:
    if not isinstance(value, str):
        raise DataLossError(f"{_WHAT}: what must be base64 text is none")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise DataLossError(f"{_WHAT}: what must be base64 text is none") from None
