# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Users' tokens: one that holds, and every known way in which one must not."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dragoman_common.errors import UnauthenticatedError
from dragoman_common.testing import FakeClock
from dragoman_gateway.user_keys import UserKeysError, load_user_keys
from dragoman_gateway.user_tokens import TokenRules, UserTokenAuthenticator

NOW_S = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
CLAIMS = {
    "iss": "issuer",
    "aud": "gateway",
    "sub": "ann",
    "tenant": "local",
    "iat": NOW_S,
    "exp": NOW_S + 600,
}


def jwk_of(key, kid="laptop", **members):
    return json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key())) | {"kid": kid} | members


@pytest.fixture
def authenticator(tmp_path):
    path = tmp_path / "users.jwks.json"
    path.write_text(json.dumps({"keys": [jwk_of(KEY, use="sig", alg="EdDSA"), jwk_of(OTHER, kid="next")]}))
    rules = TokenRules(issuer="issuer", audience="gateway", max_lifetime_s=3_600, leeway_s=30)
    return UserTokenAuthenticator(load_user_keys(path), rules, FakeClock())


def token(claims=CLAIMS, *, key=KEY, algorithm="EdDSA", kid="laptop", **headers):
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} | headers)


def bearer(value):
    return {"authorization": f"Bearer {value}"}


def part(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def hs256_with_the_public_key(header):
    """The classic confusion: the public key's bytes as an HMAC secret."""
    public = KEY.public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = f"{part(header)}.{part(CLAIMS)}"
    mac = base64.urlsafe_b64encode(hmac.new(secret, body.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
    return f"{body}.{mac}"


def without(name):
    return token({key: value for key, value in CLAIMS.items() if key != name})


def having(**claims):
    return token(CLAIMS | claims)


def test_a_token_that_holds_names_its_caller(authenticator):
    caller = authenticator.authenticate(bearer(token()))
    assert (caller.identity, caller.tenant, caller.subject, caller.models) == ("user", "local", "ann", {"*"})


@pytest.mark.parametrize(("claim", "expected"), [("*", {"*"}), (["r8", "bbc"], {"r8", "bbc"}), ([], set())])
def test_models_are_those_that_the_token_names(authenticator, claim, expected):
    assert authenticator.authenticate(bearer(having(models=claim))).models == expected


def test_both_keys_hold_during_a_rotation(authenticator):
    assert authenticator.authenticate(bearer(token(key=OTHER, kid="next"))).subject == "ann"


@pytest.mark.parametrize("offset_s", [-29, 29])
def test_clocks_may_differ_by_the_leeway(authenticator, offset_s):
    claims = {"iat": NOW_S + 29} if offset_s > 0 else {"iat": NOW_S - 100, "exp": NOW_S - 29}
    assert authenticator.authenticate(bearer(having(**claims))).subject == "ann"


ATTACKS = {
    "alg none": f"{part({'alg': 'none', 'kid': 'laptop'})}.{part(CLAIMS)}.",
    "alg None in other case": f"{part({'alg': 'nOnE', 'kid': 'laptop'})}.{part(CLAIMS)}.",
    "HS256 by the public key": hs256_with_the_public_key({"alg": "HS256", "kid": "laptop", "typ": "JWT"}),
    "HS256 said to be EdDSA": hs256_with_the_public_key({"alg": "EdDSA", "kid": "laptop", "typ": "JWT"}),
    "another key": token(key=Ed25519PrivateKey.generate()),
    "a known key under another's kid": token(key=OTHER),
    "unknown kid": token(kid="stranger"),
    "no kid": jwt.encode(CLAIMS, KEY, algorithm="EdDSA"),
    "a path as kid": token(kid="../../etc/passwd"),
    "unknown crit": token(crit=["exp2"], exp2=1),
    "known crit": token(crit=["b64"], b64=True),
    "jku": token(jku="http://127.0.0.1/keys"),
    "x5u": token(x5u="http://127.0.0.1/cert"),
    "embedded jwk": token(jwk=jwk_of(KEY)),
    "typ of something else": token(typ="dpop+jwt"),
    "flipped payload": ".".join((token().split(".")[0], part(CLAIMS | {"tenant": "acme"}), token().split(".")[2])),
    "wrong iss": having(iss="someone"),
    "wrong aud": having(aud="registry"),
    "expired": having(iat=NOW_S - 900, exp=NOW_S - 300),
    "expired by more than the leeway": having(iat=NOW_S - 100, exp=NOW_S - 31),
    "iat in the future": having(iat=NOW_S + 120),
    "nbf in the future": having(nbf=NOW_S + 120),
    "nbf a string": having(nbf=str(NOW_S)),
    "ten years": having(exp=NOW_S + 10 * 365 * 24 * 3_600),
    "long ago to soon": having(iat=NOW_S - 7_200),
    "exp a string": having(exp=str(NOW_S + 600)),
    "exp a bool": having(exp=True),
    "exp null": having(exp=None),
    "exp infinite": having(exp=float("inf")),
    "exp not a number": having(exp=float("nan")),
    "iat a string": having(iat=str(NOW_S)),
    "tenant a path": having(tenant="../acme"),
    "tenant empty": having(tenant=""),
    "tenant a list": having(tenant=["local"]),
    "sub with a newline": having(sub="ann\nadmin"),
    "sub empty": having(sub=""),
    "models a number": having(models=7),
    "models of numbers": having(models=[7]),
    "models another word": having(models="r8"),
    "not a token": "abc",
    "two parts": "a.b",
    "too long": "a" * 9_000,
} | {f"no {name}": without(name) for name in CLAIMS}


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_refused(authenticator, attack):
    with pytest.raises(UnauthenticatedError) as caught:
        authenticator.authenticate(bearer(ATTACKS[attack]))
    # The caller is told something, and nothing of the token or of the library.
    assert ATTACKS[attack][:40] not in caught.value.message
    assert "Traceback" not in caught.value.message
    assert len(caught.value.message) < 160


@pytest.mark.parametrize(
    "metadata", [{}, {"authorization": "Basic x"}, {"authorization": "Bearer "}, {"authorization": b"Bearer x"}]
)
def test_no_credential(authenticator, metadata):
    with pytest.raises(UnauthenticatedError, match="Bearer"):
        authenticator.authenticate(metadata)


def test_the_issuers_of_a_cluster_fit(tmp_path):
    rsa_key, ec_key = rsa.generate_private_key(65_537, 2_048), ec.generate_private_key(ec.SECP256R1())
    keys = [
        json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key())) | {"kid": "rsa"},
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec_key.public_key())) | {"kid": "ec"},
    ]
    for document in keys:
        document.pop("key_ops", None)
    path = tmp_path / "users.jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    rules = TokenRules(issuer="issuer", audience="gateway", max_lifetime_s=3_600, leeway_s=30)
    authenticator = UserTokenAuthenticator(load_user_keys(path), rules, FakeClock())
    for key, algorithm, kid in ((rsa_key, "RS256", "rsa"), (ec_key, "ES256", "ec")):
        assert authenticator.authenticate(bearer(token(key=key, algorithm=algorithm, kid=kid))).subject == "ann"
    with pytest.raises(UnauthenticatedError):
        authenticator.authenticate(bearer(token(key=rsa_key, algorithm="PS256", kid="rsa")))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "JSON"),
        ("[]", "keys"),
        ('{"keys": []}', "not empty"),
        (json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}]}), "symmetric"),
        (json.dumps({"keys": [json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(KEY)) | {"kid": "a"}]}), "private"),
        (json.dumps({"keys": [jwk_of(KEY, kid="")]}), "no kid"),
        (json.dumps({"keys": [jwk_of(KEY), jwk_of(OTHER)]}), "twice"),
        (json.dumps({"keys": [jwk_of(KEY, alg="HS256")]}), "alg"),
        (json.dumps({"keys": [jwk_of(KEY, use="enc")]}), "use"),
        (json.dumps({"keys": [jwk_of(KEY, x="AAAA")]}), "not a valid key"),
    ],
)
def test_a_key_file_that_must_not_be_used_is_refused(tmp_path, document, message):
    path = tmp_path / "users.jwks.json"
    path.write_text(document)
    with pytest.raises(UserKeysError, match=message):
        load_user_keys(path)


def test_a_missing_key_file_is_named(tmp_path):
    with pytest.raises(UserKeysError, match="absent"):
        load_user_keys(tmp_path / "absent.json")
