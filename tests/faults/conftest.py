# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One broker and one Postgres for the folder's tests, a platform of fake parts for each, and a place for figures."""

from contextlib import ExitStack

import pytest

from services.gateway.tests import fake_platform
from tests.faults.processes import Scene
from tests.parts import kafka, postgres
from tests.parts.missing import required

TENANTS = {"local": "acked", "other": "spooled"}
"""Who calls, and what OK promises to each."""
DURABILITY = {"EVENT_DURABILITY": "acked", "EVENT_DURABILITY_TENANTS": "other=spooled"}


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """A broker that tests may kill; it is up again when they end."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("kafka")
        yield required("kafka", lambda: stack.enter_context(kafka.running(folder, killable=True)))


@pytest.fixture(scope="session")
def database_server(tmp_path_factory):
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("postgres")
        yield required("postgres", lambda: stack.enter_context(postgres.running(folder)))


@pytest.fixture
def scene(tmp_path, broker, database_server):
    return Scene(tmp_path, broker, database_server)


@pytest.fixture
async def platform(tmp_path):
    """Fake registry, tokenizer and worker, with version 1 of r8 in production for every tenant."""
    async with fake_platform.platform_running(tmp_path) as made:
        for tenant in TENANTS:
            made.publish(1, tenant=tenant)
        yield made
