# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""End users' bearer tokens: the gateway is the only service that accepts them.

    authorization: Bearer <JWT> -> header checks -> signature, by the key that kid names -> claims -> Caller

JWT (RFC 7519) with the cautions of RFC 8725: the algorithm belongs to the key and not to the header, every claim is
required and typed, lifetimes are bounded, and a header that points at keys elsewhere (jku, x5u, jwk, x5c) is refused.

Claims: iss, aud, sub, tenant, iat, exp; optional nbf, and models: a list of model names, or "*" (also when absent) for
every model of the tenant.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from dragoman_common.auth import Caller, bearer_token
from dragoman_common.clock import Clock
from dragoman_common.errors import AuthFailure, UnauthenticatedError
from dragoman_common.names import is_name
from dragoman_gateway.user_keys import VerificationKey

USER = "user"
"""The identity of every caller with such a token, for the policy table."""

_REQUIRED = ["exp", "iat", "iss", "aud", "sub", "tenant"]
_MAX_TOKEN_CHARS = 8_192
_MAX_MODELS = 1_000
_HEADERS = frozenset({"alg", "kid", "typ"})
_TYPES = frozenset({"JWT", "AT+JWT"})
# Subjects travel as gRPC metadata and stand in events.
_SUBJECT = re.compile(r"[\x21-\x7e]{1,256}", re.ASCII)
_RENEW = "get a new token and try again"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRules:
    """What a token must say, and how old it may get."""

    issuer: str
    audience: str
    max_lifetime_s: int
    leeway_s: int


class UserTokenAuthenticator:
    """Turns a bearer token into its caller."""

    def __init__(self, keys: Mapping[str, VerificationKey], rules: TokenRules, clock: Clock) -> None:
        self._keys = keys
        self._rules = rules
        self._clock = clock

    def authenticate(self, metadata: Mapping[str, str | bytes]) -> Caller:
        """The caller that the token names.

        Raises:
            UnauthenticatedError: no token, or one that does not hold; the message says what to do about it.
        """
        token = bearer_token(metadata)
        if len(token) > _MAX_TOKEN_CHARS:
            raise UnauthenticatedError(f"the token is longer than {_MAX_TOKEN_CHARS} characters; get a shorter one")
        claims = self._verified(token, self._key_for(token))
        self._check_times(claims)
        tenant, subject = claims["tenant"], claims["sub"]
        if not isinstance(tenant, str) or not is_name(tenant):
            raise UnauthenticatedError(f"the token's tenant is not a tenant's name; {_RENEW}")
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise UnauthenticatedError(f"the token's sub is not 1 to 256 printable ASCII characters; {_RENEW}")
        return Caller(identity=USER, tenant=tenant, subject=subject, models=_models(claims.get("models", "*")))

    def _key_for(self, token: str) -> VerificationKey:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise UnauthenticatedError(f"the token is not a JWT; {_RENEW}") from None
        surplus = sorted(set(header) - _HEADERS)
        if surplus:
            raise UnauthenticatedError(
                "the token's header has members that are not accepted here; use kid, alg and typ only"
            )
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.upper() not in _TYPES:
            raise UnauthenticatedError("the token's typ is not JWT")
        kid = header.get("kid")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        # One text for both: a token that names the wrong algorithm learns nothing about the key.
        if key is None or header.get("alg") != key.algorithm:
            raise UnauthenticatedError(
                f"the token is not signed by a key that is known here; {_RENEW}", failure=AuthFailure.UNKNOWN_KEY
            )
        return key

    def _verified(self, token: str, key: VerificationKey) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._rules.audience,
                issuer=self._rules.issuer,
                # Times are checked below, on this service's clock and with their types.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.MissingRequiredClaimError as error:
            raise UnauthenticatedError(f"the token has no {error.claim} claim; {_RENEW}") from None
        except jwt.InvalidAudienceError:
            raise UnauthenticatedError(f"the token is for another audience than this gateway; {_RENEW}") from None
        except jwt.InvalidIssuerError:
            raise UnauthenticatedError(f"the token is from an issuer that is not accepted here; {_RENEW}") from None
        except jwt.InvalidTokenError:
            raise UnauthenticatedError(f"the token's signature or form does not hold; {_RENEW}") from None
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now_s, leeway_s = self._clock.now().timestamp(), self._rules.leeway_s
        issued_s, expires_s = _time(claims, "iat"), _time(claims, "exp")
        if expires_s + leeway_s <= now_s:
            raise UnauthenticatedError(f"the token has expired; {_RENEW}", failure=AuthFailure.EXPIRED_TOKEN)
        if issued_s - leeway_s > now_s or ("nbf" in claims and _time(claims, "nbf") - leeway_s > now_s):
            raise UnauthenticatedError("the token is not valid yet; check the clocks, or wait")
        if expires_s - issued_s > self._rules.max_lifetime_s:
            raise UnauthenticatedError(
                f"the token lives longer than {self._rules.max_lifetime_s} s, the most accepted here; get a new one"
            )


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UnauthenticatedError(f"the token's {name} is not a number of seconds; {_RENEW}")
    return float(value)


def _models(claim: object) -> frozenset[str]:
    if claim == "*":
        return frozenset({"*"})
    if not isinstance(claim, list) or len(claim) > _MAX_MODELS or not all(isinstance(name, str) for name in claim):
        raise UnauthenticatedError(
            f'the token\'s models is neither "*" nor a list of up to {_MAX_MODELS} names; {_RENEW}'
        )
    return frozenset(claim)
