# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The keys that end users' tokens may be signed with: a JWKS file (RFC 7517), read once at start.

Each key fixes the one algorithm that it verifies; a token's header never chooses. Only asymmetric public keys are
accepted, so a key file that leaks lets nobody sign.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

# (kty, crv) -> the algorithm such a key verifies. Symmetric keys have no row.
_ALGORITHMS: dict[tuple[Any, Any], str] = {
    ("OKP", "Ed25519"): "EdDSA",
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_MIN_RSA_BITS = 2048


class UserKeysError(Exception):
    """The key file cannot be used; the text says which key, and why."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the algorithm that it is for."""

    algorithm: str
    key: Any


def load_user_keys(path: Path) -> Mapping[str, VerificationKey]:
    """Read a JWKS file into key id -> key.

    Raises:
        UserKeysError: the file is missing, is no JWKS, or holds a key that must not be used.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserKeysError(f"{path}: not a readable JSON file: {error}") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserKeysError(f'{path}: expected an object with a list "keys" that is not empty')
    keys: dict[str, VerificationKey] = {}
    for place, entry in enumerate(entries):
        kid, key = _parse(entry, f"{path}: keys[{place}]")
        if kid in keys:
            raise UserKeysError(f"{path}: keys[{place}]: kid {kid!r} appears twice")
        keys[kid] = key
    return keys


def _parse(entry: object, place: str) -> tuple[str, VerificationKey]:
    if not isinstance(entry, dict):
        raise UserKeysError(f"{place}: not an object")
    kid = entry.get("kid")
    if not isinstance(kid, str) or not kid:
        raise UserKeysError(f"{place}: has no kid")
    # Named by member, never by value: the message may reach a terminal.
    private = sorted(_PRIVATE_MEMBERS & set(entry))
    if private:
        raise UserKeysError(
            f"{place}: holds private or symmetric members ({', '.join(private)}); keep public keys here"
        )
    algorithm = _ALGORITHMS.get((entry.get("kty"), entry.get("crv")))
    if algorithm is None:
        raise UserKeysError(f"{place}: kty and crv must be OKP with Ed25519, RSA, or EC with P-256")
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        raise UserKeysError(f"{place}: use must be sig and alg must be {algorithm}, where they are given")
    try:
        key = jwt.PyJWK(entry, algorithm).key
    except (jwt.PyJWTError, ValueError) as error:
        raise UserKeysError(f"{place}: not a valid key") from error
    if algorithm == "RS256" and key.key_size < _MIN_RSA_BITS:
        raise UserKeysError(f"{place}: an RSA key needs at least {_MIN_RSA_BITS} bits")
    return kid, VerificationKey(algorithm, key)
