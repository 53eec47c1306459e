# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The secrets of one laptop: made once, never replaced, readable by their owner only.

keys/<identity>.pem        Ed25519, one for each identity          keys/trust.json    their public halves
keys/signing.pem           P-256, the registry's signing key       keys/signing.pub.pem
keys/user-tokens.pem       Ed25519, signs users' tokens            keys/user-tokens.jwks.json, what the gateway believes
"""

from contextlib import suppress
from pathlib import Path

from dragoman_client.local.home import Home
from dragoman_client.local.user_tokens import UserTokenIssuer
from dragoman_common.auth import PLATFORM, TENANT_BOUND
from dragoman_common.service_keys import ServiceKey, TrustStore
from dragoman_models.signing import SigningKey

# A trainer's key would let a job speak without the launcher's word for it: a job's token is signed by the launcher.
IDENTITIES = tuple(sorted((PLATFORM | TENANT_BOUND) - {"trainer"}))


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


def ensure(home: Home) -> None:
    """Make the keys that are missing; those that exist stay as they are."""
    for identity in IDENTITIES:
        if not key_file(home, identity).exists():
            # Another process may have been first; its key is as good.
            with suppress(FileExistsError):
                ServiceKey.generate(identity).save(home.keys)
    TrustStore({name: ServiceKey.load(key_file(home, name)).public for name in IDENTITIES}).save(trust_file(home))
    if not signing_key_file(home).exists():
        with suppress(FileExistsError):
            SigningKey.generate().save(signing_key_file(home), signing_public_key_file(home))
    if not user_key_file(home).exists():
        with suppress(FileExistsError):
            UserTokenIssuer.generate().save(user_key_file(home))
    UserTokenIssuer.load(user_key_file(home)).save_jwks(user_jwks_file(home))
