# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The laptop's secrets: private, and never replaced."""

import json
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest

from dragoman_client.local import keys
from dragoman_client.local.home import Home, data_cache
from dragoman_client.local.user_tokens import AUDIENCE, ISSUER, UserTokenIssuer
from dragoman_common.clock import SystemClock
from dragoman_common.errors import InvalidArgumentError
from dragoman_common.service_keys import KeyTokens, ServiceKey, ServiceTokenAuthenticator, TrustStore
from dragoman_common.testing import FakeClock
from dragoman_models.signing import SigningKey


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_private_keys_are_readable_by_their_owner_only(home: Home) -> None:
    keys.ensure(home)
    private = [
        *(keys.key_file(home, name) for name in keys.IDENTITIES),
        keys.signing_key_file(home),
        keys.user_key_file(home),
    ]
    assert {mode(path) for path in private} == {0o600}
    assert mode(home.keys) == 0o700
    assert mode(home.root) == 0o700


def test_keys_are_never_replaced_and_missing_ones_are_made(home: Home) -> None:
    keys.ensure(home)
    before = {path.name: path.read_bytes() for path in home.keys.iterdir()}
    keys.key_file(home, "worker").unlink()
    keys.ensure(home)
    after = {path.name: path.read_bytes() for path in home.keys.iterdir()}
    assert set(after) == set(before)
    assert {name for name in before if before[name] != after[name]} == {"worker.pem", "trust.json"}


def test_every_service_trusts_every_identity(home: Home) -> None:
    keys.ensure(home)
    authenticator = ServiceTokenAuthenticator(TrustStore.load(keys.trust_file(home)), audience="registry")
    for name in keys.IDENTITIES:
        token = KeyTokens(ServiceKey.load(keys.key_file(home, name)), tenant="local").token("registry")
        assert authenticator.authenticate({"authorization": f"Bearer {token}"}).identity == name


def test_no_key_speaks_for_a_training_job(home: Home) -> None:
    keys.ensure(home)
    assert not keys.key_file(home, "trainer").exists()


def test_signing_key_is_a_p256_pair(home: Home) -> None:
    keys.ensure(home)
    SigningKey.load(keys.signing_key_file(home))
    assert keys.signing_public_key_file(home).read_text().startswith("-----BEGIN PUBLIC KEY-----")


def test_user_token_verifies_with_the_published_key_set(home: Home) -> None:
    keys.ensure(home)
    issuer = UserTokenIssuer.load(keys.user_key_file(home))
    token = issuer.token(clock=SystemClock(), subject="ada", models=["r8"], lifetime_s=60)
    [key] = jwt.PyJWKSet.from_json(keys.user_jwks_file(home).read_text()).keys
    claims = jwt.decode(token, key, algorithms=["EdDSA"], audience=AUDIENCE, issuer=ISSUER)
    assert jwt.get_unverified_header(token)["kid"] == key.key_id
    assert (claims["sub"], claims["tenant"], claims["models"]) == ("ada", "local", ["r8"])
    assert claims["exp"] - claims["iat"] == 60


def test_token_for_all_models_carries_no_models_claim() -> None:
    issuer = UserTokenIssuer.generate()
    token = issuer.token(clock=FakeClock(datetime(2026, 1, 1, tzinfo=UTC)), subject="ada")
    assert "models" not in jwt.decode(token, options={"verify_signature": False})


@pytest.mark.parametrize("lifetime_s", [0, -1, 86_401])
def test_lifetime_outside_a_day_is_refused(lifetime_s: int) -> None:
    with pytest.raises(InvalidArgumentError, match="not between 1 and 86400 s"):
        UserTokenIssuer.generate().token(clock=SystemClock(), subject="ada", lifetime_s=lifetime_s)


def test_key_id_is_the_thumbprint_of_rfc_8037() -> None:
    # RFC 8037, appendix A.3: the thumbprint of the key in appendix A.2.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert UserTokenIssuer(Ed25519PrivateKey.from_private_bytes(secret)).key_id == (
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    )


def test_home_follows_the_environment() -> None:
    assert Home.resolve({"DRAGOMAN_HOME": "/a"}).root == Path("/a")
    assert Home.resolve({"XDG_DATA_HOME": "/b"}).root == Path("/b/dragoman")
    assert data_cache({"DRAGOMAN_CACHE": "/c"}) == Path("/c")
    assert data_cache({"XDG_CACHE_HOME": "/d"}) == Path("/d/dragoman")


def test_jwks_holds_no_private_part(home: Home) -> None:
    keys.ensure(home)
    [key] = json.loads(keys.user_jwks_file(home).read_text())["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}
