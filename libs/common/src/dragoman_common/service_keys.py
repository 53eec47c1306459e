# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Service identities: Ed25519 keys, the tokens they sign, and the check of such a token."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, Self

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from dragoman_common.atomic import create_exclusive, write_atomic
from dragoman_common.auth import PLATFORM, TENANT_BOUND, Caller, bearer_token
from dragoman_common.clock import Clock, SystemClock
from dragoman_common.errors import AuthFailure, UnauthenticatedError

_ALGORITHM = "EdDSA"
TOKEN_LIFETIME_S = 600
JOB_TOKEN_LIFETIME_S = 7 * 24 * 3600
_LEEWAY_S = 30


class ServiceKey:
    """The private key of one identity."""

    def __init__(self, identity: str, key: Ed25519PrivateKey) -> None:
        self.identity = identity
        self._key = key

    @classmethod
    def generate(cls, identity: str) -> Self:
        return cls(identity, Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key; the file's stem is the identity.

        Raises:
            ValueError: the file is not an unencrypted Ed25519 key in PKCS 8 PEM.
        """
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path.name} is not an Ed25519 key")  # noqa: TRY004 - the file's content, not a type
        return cls(path.stem, key)

    def save(self, folder: Path) -> None:
        """Create <folder>/<identity>.pem, readable by its owner only; an existing file is never replaced."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        create_exclusive(folder / f"{self.identity}.pem", pem, mode=0o600)

    @property
    def public(self) -> Ed25519PublicKey:
        return self._key.public_key()

    def token(
        self,
        *,
        audience: str | Sequence[str],
        clock: Clock,
        tenant: str = "",
        job_id: str = "",
        job_model: str = "",
        identity: str = "",
        lifetime_s: float = TOKEN_LIFETIME_S,
    ) -> str:
        """A token for calls to `audience`. `identity` differs from the key's owner only for a training job."""
        now = clock.now()
        claims: dict[str, Any] = {
            "iss": self.identity,
            "sub": identity or _speaks_as(self.identity),
            "aud": audience if isinstance(audience, str) else list(audience),
            "iat": now,
            "exp": now + timedelta(seconds=lifetime_s),
            "tenant": tenant,
        }
        if job_id:
            claims |= {"job": job_id, "model": job_model}
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self.identity})

    def __repr__(self) -> str:
        return f"ServiceKey({self.identity!r})"


class TrustStore:
    """The public keys of the identities that this installation knows."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file as `save` writes it."""
        document = json.loads(path.read_text())
        return cls({name: Ed25519PublicKey.from_public_bytes(base64.b64decode(raw)) for name, raw in document.items()})

    def save(self, path: Path) -> None:
        """Write a JSON object: identity -> base64 of the raw public key."""
        raw = {name: key.public_bytes(Encoding.Raw, PublicFormat.Raw) for name, key in self._keys.items()}
        document = {name: base64.b64encode(value).decode() for name, value in sorted(raw.items())}
        write_atomic(path, json.dumps(document, indent=2).encode(), mode=0o644)

    def key_of(self, identity: str) -> Ed25519PublicKey | None:
        return self._keys.get(identity)


class TokenSource(Protocol):
    """Where a channel gets its credential."""

    def token(self, audience: str) -> str:
        """A token that `audience` accepts now."""
        ...


class KeyTokens:
    """Tokens signed with this process's own key, each used for half of its life."""

    def __init__(self, key: ServiceKey, *, tenant: str = "", clock: Clock | None = None) -> None:
        self._key = key
        self._tenant = tenant
        self._clock = clock or SystemClock()
        self._cached: dict[str, tuple[str, float]] = {}

    def token(self, audience: str) -> str:
        token, fresh_until_s = self._cached.get(audience, ("", 0.0))
        if self._clock.monotonic_s() >= fresh_until_s:
            token = self._key.token(audience=audience, clock=self._clock, tenant=self._tenant)
            self._cached[audience] = (token, self._clock.monotonic_s() + TOKEN_LIFETIME_S / 2)
        return token


@dataclass(frozen=True, slots=True)
class FixedToken:
    """A token that was handed over: a training job's."""

    value: str

    def token(self, audience: str) -> str:  # noqa: ARG002 - the token itself names whom it is for
        return self.value

    def __repr__(self) -> str:
        return "FixedToken(***)"


class ServiceTokenAuthenticator:
    """Accepts service tokens, and believes a tenant only from where it may come."""

    def __init__(self, trust: TrustStore, *, audience: str) -> None:
        self._trust = trust
        self._audience = audience

    def authenticate(self, metadata: Mapping[str, str | bytes]) -> Caller:
        claims = self._claims(bearer_token(metadata))
        identity, tenant = claims["sub"], claims["tenant"]
        # operator.<person>: a key of one's own, so that two people are two subjects.
        subject = str(claims.get("job") or claims["iss"].removeprefix(f"{identity}."))
        if identity in PLATFORM:
            tenant = _text(metadata, "dragoman-tenant")
            subject = _text(metadata, "dragoman-subject") or identity
        elif not tenant:
            raise UnauthenticatedError("the token names no tenant")
        job_id, job_model = (str(claims.get(name, "")) for name in ("job", "model"))
        return Caller(identity=identity, tenant=tenant, subject=subject, job_id=job_id, job_model=job_model)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            owner = jwt.get_unverified_header(token).get("kid")
            key = self._trust.key_of(owner) if isinstance(owner, str) else None
            if key is None:
                raise UnauthenticatedError(
                    "the token's key is not one that this installation trusts", failure=AuthFailure.UNKNOWN_KEY
                )
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=self._audience,
                issuer=owner,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "tenant"], "strict_aud": False},
            )
        except jwt.InvalidTokenError as error:
            is_late = isinstance(error, jwt.ExpiredSignatureError)
            failure = AuthFailure.EXPIRED_TOKEN if is_late else AuthFailure.INVALID_TOKEN
            raise UnauthenticatedError(f"the service token does not hold: {error}", failure=failure) from None
        _check_shape(claims)
        return claims


def _check_shape(claims: Mapping[str, Any]) -> None:
    """What PyJWT leaves open: types, who may sign for whom, and how long a token may live."""
    times = (claims["iat"], claims["exp"])
    names = (claims["sub"], claims["tenant"], claims["iss"])
    if any(isinstance(t, bool) or not isinstance(t, int | float) for t in times) or not all(
        isinstance(name, str) for name in names
    ):
        raise UnauthenticatedError("the token's claims have the wrong types")
    is_job = claims["iss"] == "launcher" and claims["sub"] == "trainer" and bool(claims.get("job"))
    if claims["sub"] != _speaks_as(claims["iss"]) and not is_job:
        raise UnauthenticatedError("the token's key does not speak for its subject")
    if claims["sub"] not in PLATFORM | TENANT_BOUND:
        raise UnauthenticatedError("the token's subject is not an identity of this platform")
    if claims["exp"] - claims["iat"] > (JOB_TOKEN_LIFETIME_S if is_job else TOKEN_LIFETIME_S):
        raise UnauthenticatedError("the token lives longer than tokens of its kind may")


def _speaks_as(owner: str) -> str:
    """The identity that a key speaks as: its own name, but `operator` for the key of one person, `operator.<name>`."""
    return "operator" if owner.startswith("operator.") else owner


def _text(metadata: Mapping[str, str | bytes], key: str) -> str:
    value = metadata.get(key, "")
    return value if isinstance(value, str) else ""
