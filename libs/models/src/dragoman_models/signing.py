# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Signatures over records and over models.

Owns the signing key, the DSSE envelope around a record, and the OpenSSF model-signing bundle that verifiers outside
Dragoman accept. Only the registry signs; checking is verify's.

    record -> to_payload -> PAE(payload type, payload) -> ECDSA P-256 -> envelope JSON
    files  -> in-toto statement -> PAE -> ECDSA P-256 -> sigstore bundle JSON
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dragoman_common.atomic import create_exclusive
from dragoman_common.errors import FailedPreconditionError, InvalidArgumentError
from dragoman_models.file_digest import FileDigest, root_sha256
from dragoman_models.record import ALIAS_PAYLOAD_TYPE, VERSION_PAYLOAD_TYPE, AliasRecord, VersionManifest
from dragoman_models.record_fields import canonical_json

IN_TOTO_PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MODEL_SIGNATURE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


class RetiredKeyError(FailedPreconditionError):
    """The key was revoked while it was in use. What is there stays readable; nothing new is signed."""


class SigningKey:
    """A private ECDSA P-256 key. Never printed, never sent; only its public half leaves the process."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        """Take a key that load or generate made."""
        self._key = key
        self.key_id = key_id(key.public_key())
        self._is_retired = False

    @classmethod
    def generate(cls) -> "SigningKey":
        """Draw a new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Read an unencrypted PKCS#8 PEM file.

        Raises:
            InvalidArgumentError: the file is absent, unreadable, or holds no P-256 private key.
        """
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise InvalidArgumentError(
                f"signing key {path.name}: not a readable unencrypted PEM private key ({type(error).__name__})"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidArgumentError(f"signing key {path.name}: must be an ECDSA key on curve P-256")
        return cls(key)

    def save(self, private_path: Path, public_path: Path) -> None:
        """Write both halves as PEM, the private one readable by its owner only.

        Raises:
            FileExistsError: one of the files exists; a key is never overwritten.
        """
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        create_exclusive(private_path, private, mode=0o600)
        create_exclusive(public_path, public_pem(self.public_key), mode=0o644)

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The half that verifiers need."""
        return self._key.public_key()

    def retire(self) -> None:
        """Sign nothing any more: nobody would believe it, and a chain with such an event would be broken."""
        self._is_retired = True

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """Return the DER signature over the payload and its type.

        Raises:
            RetiredKeyError: the key was revoked while it was in use.
        """
        if self._is_retired:
            raise RetiredKeyError(f"the signing key {self.key_id[:12]} is revoked; start the registry with another one")
        return self._key.sign(pre_authentication_encoding(payload_type, payload), ec.ECDSA(hashes.SHA256()))


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """Return a key's name: SHA-256 in hex of its PEM, as model-signing hints at keys."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Bind a payload to its type before it is signed, so that one kind of record never passes for another.

    Source: DSSE v1.0.2, protocol.md, "Signature Definition"; deviation: none.
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload_type: str, payload: bytes, key: SigningKey) -> bytes:
    """Return the payload, its type and its signature as a DSSE envelope in JSON."""
    signature = {"keyid": key.key_id, "sig": _base64(key.sign(payload_type, payload))}
    return canonical_json({"payloadType": payload_type, "payload": _base64(payload), "signatures": [signature]})


def sign_manifest(manifest: VersionManifest, key: SigningKey) -> bytes:
    """Return the envelope of a version's manifest."""
    return sign_envelope(VERSION_PAYLOAD_TYPE, manifest.to_payload(), key)


def sign_alias_record(record: AliasRecord, key: SigningKey) -> bytes:
    """Return the envelope of an alias event."""
    return sign_envelope(ALIAS_PAYLOAD_TYPE, record.to_payload(), key)


def sign_model(name: str, files: Sequence[FileDigest], key: SigningKey) -> bytes:
    """Return the model's signature as a sigstore bundle, for `model_signing verify key`.

    Args:
        name: Shown to whoever inspects the statement; verifiers do not compare it.
        files: As file_digest.check_files returned them.
        key: Signs.

    Source: OpenSSF model-signing 1.x (key method) and sigstore bundle v0.3; deviation: none.
    """
    payload = canonical_json(model_statement(name, files))
    return model_bundle(payload, key.key_id, key.sign(IN_TOTO_PAYLOAD_TYPE, payload))


def model_bundle(statement: bytes, signer: str, signature: bytes) -> bytes:
    """Return a signed statement in the one form that is written here: of it no byte can be another."""
    return canonical_json(
        {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": signer}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": _base64(statement),
                "payloadType": IN_TOTO_PAYLOAD_TYPE,
                "signatures": [{"keyid": "", "sig": _base64(signature)}],
            },
        }
    )


def model_statement(name: str, files: Sequence[FileDigest]) -> dict[str, object]:
    """Return the in-toto statement that a model signature signs: every file and the digest over all."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root_sha256(files)}}],
        "predicateType": MODEL_SIGNATURE_TYPE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [{"name": file.path, "algorithm": "sha256", "digest": file.sha256} for file in files],
        },
    }


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the key's usual text form, over which its id is drawn."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
