# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Modes as they are set, and the share that a sampled tenant keeps."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman_common.settings import SettingsError, parse
from dragoman_gateway.durability import Durabilities, Mode, parse_durability
from dragoman_gateway.settings import Settings

REQUEST_IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
PREFIX = "DRAGOMAN_GATEWAY_"
REQUIRED = {
    "KEY_FILE": "k",
    "TRUST_FILE": "t",
    "REGISTRY_TARGET": "127.0.0.1:1",
    "REGISTRY_KEYS_FILE": "r",
    "TOKENIZER_TARGET": "127.0.0.1:2",
    "WORKER_TARGETS": "127.0.0.1:3",
    "EVENTS_URL": "sqlite:///events.db",
    "USER_JWKS_FILE": "j",
}


def settings_of(**changes):
    return parse(Settings, {PREFIX + name: value for name, value in (REQUIRED | changes).items()}, prefix=PREFIX)


def test_tenants_have_the_default_or_their_own():
    found = Durabilities("acked", ("acme=spooled", "globex=sampled:10"))
    assert [found.of(tenant).mode for tenant in ("local", "acme", "globex")] == [
        Mode.ACKED,
        Mode.SPOOLED,
        Mode.SAMPLED,
    ]
    assert found.of("globex").one_in == 10


@pytest.mark.parametrize(
    "text", ["", "ACKED", "acked ", "sampled", "sampled:0", "sampled:-1", "sampled:0.1", "sampled:1000001", "spooled:2"]
)
def test_other_modes_are_refused_with_the_forms_that_there_are(text):
    with pytest.raises(ValueError, match="acked, spooled or sampled:N"):
        parse_durability(text)


@given(REQUEST_IDS, st.integers(1, 1_000))
def test_the_same_request_is_always_kept_or_never(request_id, one_in):
    durability = parse_durability(f"sampled:{one_in}")
    assert durability.keeps(request_id) == (int.from_bytes(bytes.fromhex(request_id), "big") % one_in == 0)


def test_the_share_is_what_was_asked_for():
    durability = parse_durability("sampled:4")
    kept = sum(durability.keeps(secrets.token_hex(16)) for _ in range(20_000))
    # Ten standard deviations.
    assert abs(kept - 5_000) < 620


@given(REQUEST_IDS)
def test_who_is_not_sampled_loses_nothing(request_id):
    assert parse_durability("acked").keeps(request_id)
    assert parse_durability("spooled").keeps(request_id)
    assert parse_durability("sampled:1").keeps(request_id)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EVENT_DURABILITY": "sampled"}, "EVENT_DURABILITY: 'sampled' is not acked, spooled or sampled:N"),
        ({"EVENT_DURABILITY_TENANTS": "acme"}, "EVENT_DURABILITY_TENANTS: 'acme' is not tenant=mode"),
        ({"EVENT_DURABILITY_TENANTS": "acme=none"}, "EVENT_DURABILITY_TENANTS: 'none' is not acked"),
        ({"EVENT_DURABILITY_TENANTS": "a=acked, a=spooled"}, "EVENT_DURABILITY_TENANTS: 'a' has two modes"),
        ({"EVENT_DURABILITY": "spooled"}, "SPOOL_FOLDER must be set"),
        ({"EVENT_DURABILITY_TENANTS": "acme=sampled:10"}, "SPOOL_FOLDER must be set"),
        ({"SPOOL_MAX_EVENTS": "0"}, "SPOOL_MAX_EVENTS must be at least 1"),
        ({"EVENT_ACK_TIMEOUT_MS": "0"}, "EVENT_ACK_TIMEOUT_MS must be at least 1"),
    ],
)
def test_settings_that_promise_nothing_clear_are_refused_at_the_start(changes, message):
    with pytest.raises(SettingsError, match=message):
        settings_of(**changes)


def test_spooled_needs_only_a_folder():
    found = settings_of(EVENT_DURABILITY="spooled", SPOOL_FOLDER="/spool", EVENT_DURABILITY_TENANTS="a=acked, b=acked")
    assert [found.durabilities.of(tenant).mode for tenant in ("a", "c")] == [Mode.ACKED, Mode.SPOOLED]
