# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Service tokens: what is accepted, and every way in which one that is not right is refused."""

import stat
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dragoman_common.clock import SystemClock
from dragoman_common.errors import UnauthenticatedError
from dragoman_common.service_keys import KeyTokens, ServiceKey, ServiceTokenAuthenticator, TrustStore
from dragoman_common.testing import FakeClock, TestKeys

KEYS = TestKeys()
AUTHENTICATOR = ServiceTokenAuthenticator(KEYS.trust, audience="registry")
CLOCK = SystemClock()


def authenticate(token, **metadata):
    return AUTHENTICATOR.authenticate({"authorization": f"Bearer {token}"} | metadata)


def forged(owner="operator", key=None, headers=None, **changes):
    """A token with the claims of a good one, but for `changes`; None removes a claim."""
    now = CLOCK.now()
    claims = {
        "iss": owner,
        "sub": owner,
        "aud": "registry",
        "iat": now,
        "exp": now + timedelta(seconds=60),
        "tenant": "local",
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    signer = key or KEYS.key(owner)._key
    return jwt.encode(claims, signer, algorithm="EdDSA", headers={"kid": owner} | (headers or {}))


def test_good_token_is_accepted():
    assert authenticate(forged()).tenant == "local"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"iat": None},
        {"aud": None},
        {"aud": "worker"},
        {"iss": "gateway"},
        {"sub": "registry"},
        {"sub": "stranger"},
        {"tenant": None},
        {"tenant": ""},
        {"tenant": 7},
        {"exp": CLOCK.now() - timedelta(minutes=2)},
        {"exp": CLOCK.now() + timedelta(days=3650)},
        {"iat": CLOCK.now() + timedelta(hours=1), "exp": CLOCK.now() + timedelta(hours=1, minutes=5)},
        {"nbf": CLOCK.now() + timedelta(hours=1)},
        {"sub": "trainer"},
    ],
    ids=str,
)
def test_token_with_a_wrong_claim_is_refused(changes):
    with pytest.raises(UnauthenticatedError):
        authenticate(forged(**changes))


def test_token_signed_by_another_key_is_refused():
    with pytest.raises(UnauthenticatedError):
        authenticate(forged(key=Ed25519PrivateKey.generate()))


def test_token_of_an_unknown_key_is_refused():
    with pytest.raises(UnauthenticatedError, match="trusts"):
        authenticate(forged(headers={"kid": "stranger"}))


def test_token_with_an_unknown_critical_header_is_refused():
    with pytest.raises(UnauthenticatedError):
        authenticate(forged(headers={"crit": ["x"], "x": 1}))


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_algorithm_is_never_taken_from_the_token(algorithm):
    claims = jwt.decode(forged(), options={"verify_signature": False})
    key = None if algorithm == "none" else "k" * 64
    token = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "operator"})
    with pytest.raises(UnauthenticatedError):
        authenticate(token)


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer  ", "Basic abc", "token"])
def test_missing_or_other_credentials_are_refused(value):
    with pytest.raises(UnauthenticatedError, match="authorization"):
        AUTHENTICATOR.authenticate({"authorization": value})


def test_job_token_binds_tenant_job_and_model():
    token = KEYS.key("launcher").token(
        audience=["registry", "launcher"],
        clock=CLOCK,
        tenant="acme",
        identity="trainer",
        job_id="j1",
        job_model="r8",
        lifetime_s=86_400,
    )
    caller = authenticate(token, **{"dragoman-tenant": "other"})
    assert (caller.identity, caller.tenant, caller.job_id, caller.job_model) == ("trainer", "acme", "j1", "r8")


def test_only_the_launcher_signs_for_a_job():
    token = KEYS.key("worker").token(audience="registry", clock=CLOCK, tenant="acme", identity="trainer", job_id="j1")
    with pytest.raises(UnauthenticatedError, match="speak for"):
        authenticate(token)


def test_key_file_is_for_its_owner_only_and_never_replaced(tmp_path):
    key = ServiceKey.generate("gateway")
    key.save(tmp_path)
    assert stat.S_IMODE((tmp_path / "gateway.pem").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        ServiceKey.generate("gateway").save(tmp_path)
    trust = TrustStore({"gateway": key.public})
    trust.save(tmp_path / "trust.json")
    loaded = ServiceKey.load(tmp_path / "gateway.pem").token(audience="registry", clock=CLOCK)
    store = TrustStore.load(tmp_path / "trust.json")
    assert ServiceTokenAuthenticator(store, audience="registry").authenticate({"authorization": f"Bearer {loaded}"})


def test_token_is_reused_for_half_of_its_life():
    clock = FakeClock(now=CLOCK.now())
    tokens = KeyTokens(KEYS.key("gateway"), clock=clock)
    first = tokens.token("registry")
    clock.advance(299)
    assert tokens.token("registry") == first
    clock.advance(2)
    assert tokens.token("registry") != first


def test_two_operators_with_keys_of_their_own_are_two_subjects():
    keys = TestKeys(("operator", "operator.ada", "operator.bo", "worker.ada"))
    callers = [
        keys.authenticator("registry").authenticate(
            {"authorization": f"Bearer {keys.tokens(name, tenant='acme').token('registry')}", "dragoman-subject": "x"}
        )
        for name in ("operator", "operator.ada", "operator.bo")
    ]
    assert {caller.identity for caller in callers} == {"operator"}
    assert [caller.subject for caller in callers] == ["operator", "ada", "bo"]
    with pytest.raises(UnauthenticatedError, match="not an identity"):
        keys.authenticator("registry").authenticate(
            {"authorization": f"Bearer {keys.tokens('worker.ada').token('registry')}"}
        )
