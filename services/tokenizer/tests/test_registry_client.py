# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The adapter against a registry over real gRPC, with real signatures; and the fake, held to the same contract."""

from dataclasses import dataclass

import pytest

from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_common.testing import TestKeys
from dragoman_tokenizer.contracts import FILES, NAME, VersionSourceContract
from dragoman_tokenizer.memory import MemoryVersionSource
from dragoman_tokenizer.registry_client import RegistryVersionSource


@dataclass
class StoreBehind:
    source: object
    behind: object

    def __getattr__(self, name):
        return getattr(self.behind, name)


class TestMemory(VersionSourceContract):
    @pytest.fixture
    async def store(self):
        source = MemoryVersionSource()
        source.publish(NAME.tenant, NAME.model, NAME.number, FILES)
        return StoreBehind(source, source)


class TestRegistry(VersionSourceContract):
    @pytest.fixture
    async def store(self, registry):
        server, source = registry
        server.publish(NAME.tenant, NAME.model, NAME.number, FILES)
        return StoreBehind(source, server)


@pytest.fixture
async def registry(registry_server):
    server = registry_server.RegistryServer()
    async with registry_server.registry_running(server, TestKeys()) as channel:
        yield server, RegistryVersionSource(channel, server.trusted)


@pytest.mark.parametrize("named", [("globex", "r8", 3), ("acme", "r9", 3), ("acme", "r8", 2)])
async def test_record_signed_for_another_version_is_data_loss(registry, named):
    server, source = registry
    server.publish(NAME.tenant, NAME.model, NAME.number, FILES, signed_as=named)
    with pytest.raises(DataLossError):
        await source.manifest(NAME)


@pytest.mark.parametrize("wrong", [{"root_sha256": "0" * 64}, {"signed_as": ("acme", "r8", 2)}])
async def test_signed_tombstone_of_another_version_takes_this_one_not_down(registry, wrong):
    server, source = registry
    server.publish(NAME.tenant, NAME.model, NAME.number, FILES)
    server.withdraw(NAME.tenant, NAME.model, NAME.number, **wrong)
    assert len((await source.manifest(NAME)).files) == 3


async def test_root_digest_is_the_signed_one_not_the_displayed_one(registry):
    server, source = registry
    server.publish(NAME.tenant, NAME.model, NAME.number, FILES)
    assert (await source.manifest(NAME)).root_sha256 != "f" * 64


async def test_registry_that_is_away_is_unavailable():
    import grpc

    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(UnavailableError):
            await RegistryVersionSource(channel, None).manifest(NAME)


async def test_registry_that_refuses_this_service_is_not_reported_as_the_callers_fault(registry_server):
    server = registry_server.RegistryServer()
    async with registry_server.registry_running(server, TestKeys(), caller="worker") as channel:
        with pytest.raises(UnavailableError, match="tell the operator"):
            await RegistryVersionSource(channel, server.trusted).manifest(NAME)
