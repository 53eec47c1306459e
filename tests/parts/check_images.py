# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What an image for tests must be. `make test-containers` runs it; it needs a Docker engine that has them."""

import os
from contextlib import closing

import docker
import pytest

from tests.parts import kafka, minio, postgres
from tests.parts.images import PARTS, USER

LIMIT_MB = 150


@pytest.fixture(scope="module")
def engine():
    with closing(docker.from_env(timeout=60)) as engine:
        yield engine


@pytest.fixture(params=sorted(PARTS))
def part(request) -> str:
    return request.param


def test_image_is_small_names_its_licence_and_version_and_has_no_rights(engine, part):
    default, version, _ = PARTS[part]
    attributes = engine.images.get(os.environ.get(f"DRAGOMAN_TEST_{part.upper()}_IMAGE", default)).attrs
    labels = attributes["Config"]["Labels"]
    assert attributes["Size"] < LIMIT_MB * 1e6
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.licenses"]
    assert attributes["Config"]["User"] == f"{USER}:{USER}"
    assert len(attributes["Config"]["ExposedPorts"]) == 1


def test_container_is_published_on_loopback_alone_and_gone_after_the_block(engine, part, tmp_path):
    running = {"minio": minio, "kafka": kafka, "postgres": postgres}[part].running
    before = {container.id for container in engine.containers.list(all=True)}
    with running(tmp_path, killable=True):
        (ours,) = [container for container in engine.containers.list() if container.id not in before]
        bindings = [binding for bound in ours.ports.values() for binding in bound or []]
        assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}
    assert ours.id not in {container.id for container in engine.containers.list(all=True)}
