# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The laptop's stand-in for an identity provider: signs the bearer tokens that its gateway accepts.

A cluster's gateway takes tokens of the organisation's own provider instead; nothing outside this folder knows this one.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Self

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from dragoman_common.atomic import create_exclusive, write_atomic
from dragoman_common.clock import Clock
from dragoman_common.errors import InvalidArgumentError

ISSUER = "dragoman-laptop"
AUDIENCE = "dragoman-gateway"
LOCAL_TENANT = "local"
DEFAULT_LIFETIME_S = 15 * 60
MAX_LIFETIME_S = 24 * 3600


class UserTokenIssuer:
    """The key that signs users' tokens."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Self:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the key.

        Raises:
            InvalidArgumentError: the file holds something else.
        """
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError):
            raise InvalidArgumentError(f"{path} is not a private key") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidArgumentError(f"{path} is not an Ed25519 key")
        return cls(key)

    def save(self, path: Path) -> None:
        """Create the key file, mode 0600; an existing file is never replaced."""
        create_exclusive(path, self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)

    def save_jwks(self, path: Path) -> None:
        """Write the public half as a JSON Web Key Set (RFC 7517, RFC 8037)."""
        key = {"kty": "OKP", "crv": "Ed25519", "x": self._public_x, "kid": self.key_id, "use": "sig", "alg": "EdDSA"}
        write_atomic(path, json.dumps({"keys": [key]}, indent=2).encode(), mode=0o644)

    @property
    def key_id(self) -> str:
        """The key's thumbprint. Source: RFC 7638, section 3; deviation: none."""
        members = {"crv": "Ed25519", "kty": "OKP", "x": self._public_x}
        return _base64url(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())

    def token(
        self,
        *,
        clock: Clock,
        subject: str,
        models: Sequence[str] | None = None,
        lifetime_s: float = DEFAULT_LIFETIME_S,
        tenant: str = LOCAL_TENANT,
    ) -> str:
        """A bearer token for the gateway.

        Args:
            clock: the time it is valid from.
            subject: who it is for.
            models: the models it may ask; None for all of the tenant.
            lifetime_s: how long it holds, at most a day.
            tenant: whose models.

        Raises:
            InvalidArgumentError: the lifetime is not between 1 second and a day.
        """
        if not 1 <= lifetime_s <= MAX_LIFETIME_S:
            raise InvalidArgumentError(f"ttl: {lifetime_s:g} s is not between 1 and {MAX_LIFETIME_S} s")
        now = clock.now()
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "tenant": tenant,
            "iat": now,
            "exp": now + timedelta(seconds=lifetime_s),
            "jti": secrets.token_hex(16),
        }
        if models is not None:
            claims["models"] = list(models)
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": self.key_id})

    @property
    def _public_x(self) -> str:
        return _base64url(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
