# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The secrets of one laptop: made once, never replaced, readable by their owner only.

keys/<identity>.pem        Ed25519, one for each identity          keys/trust.json    their public halves
keys/operator.<name>.pem   Ed25519, one for each person who acts as operator
keys/signing.pem           P-256, the registry's signing key       keys/signing.pub.pem
keys/user-tokens.pem       Ed25519, signs users' tokens            keys/user-tokens.jwks.json, what the gateway believes
"""

import re
from contextlib import suppress
from pathlib import Path

from dragoman_client.local.home import Home
from dragoman_client.local.user_tokens import UserTokenIssuer
from dragoman_common.auth import PLATFORM, TENANT_BOUND
from dragoman_common.errors import AlreadyExistsError, InvalidArgumentError
from dragoman_common.service_keys import ServiceKey, TrustStore
from dragoman_models.signing import SigningKey

# A trainer's key would let a job speak without the launcher's word for it: a job's token is signed by the launcher.
IDENTITIES = tuple(sorted((PLATFORM | TENANT_BOUND) - {"trainer"}))

_PERSON = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def key_file(home: Home, identity: str) -> Path:
    return home.keys / f"{identity}.pem"


def trust_file(home: Home) -> Path:
    return home.keys / "trust.json"


def signing_key_file(home: Home) -> Path:
    return home.keys / "signing.pem"


def signing_public_key_file(home: Home) -> Path:
    return home.keys / "signing.pub.pem"


def user_key_file(home: Home) -> Path:
    return home.keys / "user-tokens.pem"


def user_jwks_file(home: Home) -> Path:
    return home.keys / "user-tokens.jwks.json"


def operator_key_file(home: Home, person: str) -> Path:
    """A person's key, or the laptop's own operator key where nobody is named."""
    return key_file(home, f"operator.{person}" if person else "operator")


def add_operator(home: Home, person: str) -> Path:
    """Make a key for a person.

    Raises:
        InvalidArgumentError: the name is not 1 to 63 lower-case letters, digits or '-'.
        AlreadyExistsError: the person has one; it is never replaced.
    """
    if not _PERSON.fullmatch(person):
        raise InvalidArgumentError(f"name {person[:80]!r} must be 1 to 63 lower-case letters, digits or '-'")
    ensure(home)
    try:
        ServiceKey.generate(f"operator.{person}").save(home.keys)
    except FileExistsError:
        raise AlreadyExistsError(f"{person} has a key already") from None
    _save_trust(home)
    return operator_key_file(home, person)


def _save_trust(home: Home) -> None:
    people = [path.stem for path in sorted(home.keys.glob("operator.*.pem")) if path.stem != "operator"]
    names = (*IDENTITIES, *people)
    TrustStore({name: ServiceKey.load(key_file(home, name)).public for name in names}).save(trust_file(home))


def ensure(home: Home) -> None:
    """Make the keys that are missing; those that exist stay as they are."""
    for identity in IDENTITIES:
        if not key_file(home, identity).exists():
            # Another process may have been first; its key is as good.
            with suppress(FileExistsError):
                ServiceKey.generate(identity).save(home.keys)
    _save_trust(home)
    if not signing_key_file(home).exists():
        with suppress(FileExistsError):
            SigningKey.generate().save(signing_key_file(home), signing_public_key_file(home))
    if not user_key_file(home).exists():
        with suppress(FileExistsError):
            UserTokenIssuer.generate().save(user_key_file(home))
    UserTokenIssuer.load(user_key_file(home)).save_jwks(user_jwks_file(home))
