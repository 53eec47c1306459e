# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where workers are looked for, and which pool a version belongs to."""

import pytest

from dragoman_gateway.targets import PoolModels, parse_worker_targets


def test_a_target_names_its_pool_or_is_of_the_default_one():
    targets = parse_worker_targets(["127.0.0.1:9000", " gpu = workers-gpu.ns:9001", "gpu=[fd00::1]:9000"])
    assert [(target.pool, target.endpoint.host, target.endpoint.port) for target in targets] == [
        ("default", "127.0.0.1", 9000),
        ("gpu", "workers-gpu.ns", 9001),
        ("gpu", "fd00::1", 9000),
    ]


@pytest.mark.parametrize(
    "item", ["", "host", "host:", ":9000", "host:0", "host:65536", "host:x", "=host:1", "fd00::1:9000", "gpu="]
)
def test_what_is_no_target_is_refused(item):
    with pytest.raises(ValueError, match=r"host:port|pool|IPv6"):
        parse_worker_targets([item])


def test_a_place_named_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        parse_worker_targets(["a:1", "gpu=a:1"])


def test_a_version_belongs_to_the_first_pool_that_takes_its_model(make):
    targets = parse_worker_targets(["gpu=a:1", "small=b:1", "rest=c:1"])
    pools = PoolModels(targets, ["gpu=acme/*", "gpu=local/bert-*", "small=local/r8"])
    assert pools.names == ("gpu", "small", "rest")
    found = [
        pools.pool_of(make.key(tenant=tenant, model=model))
        for tenant, model in [("acme", "r8"), ("local", "bert-1"), ("local", "r8"), ("local", "bbc")]
    ]
    assert found == ["gpu", "gpu", "small", "rest"]
    assert PoolModels(targets[1:2], ["small=local/r8"]).pool_of(make.key(model="bbc")) is None


@pytest.mark.parametrize("item", ["gpu", "gpu=", "=x", "other=*"])
def test_what_is_no_pattern_of_a_known_pool_is_refused(item):
    with pytest.raises(ValueError, match="pool"):
        PoolModels(parse_worker_targets(["gpu=a:1"]), [item])
