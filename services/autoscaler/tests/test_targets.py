# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Triggers and settings: what is read, and what is refused by name."""

import pytest

from dragoman_autoscaler.places import PoolPlace, parse_places
from dragoman_autoscaler.settings import PREFIX, Settings
from dragoman_autoscaler.targets import Targets, parse_trigger
from dragoman_common.endpoint import Endpoint
from dragoman_common.errors import InvalidArgumentError
from dragoman_common.settings import SettingsError, parse

DEFAULTS = Targets(pending_tokens=1, queue_time_ms=2, utilization=0.5)
SERVER = {f"{PREFIX}KEY_FILE": "k", f"{PREFIX}TRUST_FILE": "t"}


def test_trigger_overrides_the_defaults_and_leaves_alone_what_is_kedas():
    metadata = {"pool": "gpu", "scalerAddress": "autoscaler:9000", "targetQueueTimeMs": "40", "enableTLS": "true"}
    trigger = parse_trigger(metadata, DEFAULTS)
    assert trigger.pool == "gpu"
    assert trigger.targets == Targets(pending_tokens=1, queue_time_ms=40, utilization=0.5)


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({}, "'pool' is missing"),
        ({"pool": "p", "targetPendingToken": "5"}, "no such target: 'targetPendingToken'"),
        ({"pool": "p", "targetPendingTokens": "many"}, "targetPendingTokens is 'many'"),
        ({"pool": "p", "targetPendingTokens": "0"}, "targetPendingTokens is '0'"),
        ({"pool": "p", "targetQueueTimeMs": "nan"}, "targetQueueTimeMs is 'nan'"),
        ({"pool": "p", "targetQueueTimeMs": "inf"}, "targetQueueTimeMs is 'inf'"),
        ({"pool": "p", "targetUtilization": "75"}, "at most 1"),
    ],
)
def test_damaged_trigger_is_refused_and_named(metadata, text):
    with pytest.raises(InvalidArgumentError, match=text):
        parse_trigger(metadata, DEFAULTS)


def test_pools_are_read_from_one_setting():
    settings = parse(Settings, SERVER | {f"{PREFIX}POOLS": "a=workers-a:9000,b-2=[::1]:9001"}, prefix=PREFIX)
    assert settings.places == (
        PoolPlace(pool="a", endpoint=Endpoint(host="workers-a", port=9000)),
        PoolPlace(pool="b-2", endpoint=Endpoint(host="::1", port=9001)),
    )


@pytest.mark.parametrize(
    "item", ["a", "a=", "a=x", "a=x:", "a=x:0", "a=x:65536", "a=::1:9000", "=x:1", "A=x:1", "a-=x:1", "a=:1"]
)
def test_damaged_place_is_refused(item):
    with pytest.raises(ValueError, match="POOLS"):
        parse_places([item])


def test_a_pool_named_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        parse_places(["a=x:1", "a=y:1"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REPORT_INTERVAL_MS", "50"),
        ("STALE_AFTER_MS", "600"),
        ("SMOOTHING_MS", "0"),
        ("TARGET_UTILIZATION", "1.5"),
        ("COOL_DOWN_S", "-1"),
        ("POOLS", "a"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(name, value):
    environment = SERVER | {f"{PREFIX}POOLS": "a=x:1", f"{PREFIX}{name}": value}
    with pytest.raises(SettingsError, match=name):
        parse(Settings, environment, prefix=PREFIX)
