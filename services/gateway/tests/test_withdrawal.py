# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A version that was withdrawn answers no more: by number, from memory, or standing in for another."""

import asyncio
import logging
from types import SimpleNamespace

import grpc
import pytest

from dragoman.common.v1.signed_pb2 import SignedRecord
from dragoman.registry.v1 import registry_pb2
from dragoman_common.channel import connect
from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_gateway.memory import MemoryHistory
from dragoman_gateway.registry_client import RegistryCatalogue
from dragoman_gateway.selector import parse_selector
from dragoman_gateway.version import VersionWithdrawnError
from dragoman_gateway.withdrawals import Withdrawals
from dragoman_models.signing import SigningKey
from dragoman_models.verify import VerifyingKeys

PROD = parse_selector("r8")


class FakeStub:
    """The registry's GetVersion, without a network, so that fake time can pass."""

    def __init__(self, registry):
        self.registry, self.failure, self.num_calls = registry, None, 0

    async def GetVersion(self, request):
        self.num_calls += 1
        if self.failure:
            raise self.failure
        name = ("local", request.model, request.number)
        version = registry_pb2.ModelVersion(manifest=SignedRecord(envelope=self.registry.versions[name]))
        if name in self.registry.tombstones:
            version.tombstone.record.envelope = self.registry.tombstones[name]
        return registry_pb2.GetVersionResponse(version=version)


@pytest.fixture
async def behind(fake_platform):
    """A catalogue whose registry holds r8 version 1."""
    registry = fake_platform.Registry()
    manifest = fake_platform.manifest_of(1)
    registry.publish(manifest)
    channel = connect("127.0.0.1:1", audience="registry", tokens=fake_platform.TestKeys().tokens("gateway"))
    catalogue = RegistryCatalogue(channel, VerifyingKeys([registry.key.public_key]), Withdrawals())
    catalogue._stub = stub = FakeStub(registry)
    yield SimpleNamespace(catalogue=catalogue, registry=registry, manifest=manifest, stub=stub)
    await catalogue.close()
    await channel.close()


@pytest.mark.looptime
async def test_a_version_in_constant_use_is_refused_within_half_a_minute(behind):
    await behind.catalogue.get("local", "r8", 1)
    behind.registry.withdraw(behind.manifest)
    started_s = asyncio.get_running_loop().time()
    with pytest.raises(VersionWithdrawnError, match="leaked rows"):
        for _ in range(200):
            await behind.catalogue.get("local", "r8", 1)
            await asyncio.sleep(0.5)
    assert asyncio.get_running_loop().time() - started_s <= 30
    # It is final: nobody asks again.
    with pytest.raises(VersionWithdrawnError):
        await behind.catalogue.get("local", "r8", 1)
    assert behind.stub.num_calls == 2


@pytest.mark.looptime
async def test_a_version_that_lay_idle_is_refused_at_its_next_use(behind):
    await behind.catalogue.get("local", "r8", 1)
    behind.registry.withdraw(behind.manifest)
    await asyncio.sleep(30)
    with pytest.raises(VersionWithdrawnError):
        await behind.catalogue.get("local", "r8", 1)


@pytest.mark.looptime
async def test_a_version_in_use_costs_one_question_in_fifteen_seconds(behind):
    for _ in range(1_000):
        await behind.catalogue.get("local", "r8", 1)
        await asyncio.sleep(0.09)
    assert behind.stub.num_calls == 1 + 5


@pytest.mark.looptime
@pytest.mark.parametrize(
    "forged",
    [{"key": SigningKey.generate()}, {"root_sha256": "0" * 64}, {"version": 2}, {"tenant": "acme"}, {"model": "bbc"}],
)
async def test_a_forged_tombstone_takes_no_good_version_down_and_is_logged(behind, forged, caplog):
    await behind.catalogue.get("local", "r8", 1)
    behind.registry.withdraw(behind.manifest, **forged)
    await asyncio.sleep(30)
    with caplog.at_level(logging.ERROR):
        assert (await behind.catalogue.get("local", "r8", 1)).key.number == 1
    (line,) = caplog.records
    assert (line.name, line.message, line.object) == (
        "dragoman_gateway.audit",
        "audit: object refused",
        "local/r8/tombstones/1",
    )


@pytest.mark.looptime
@pytest.mark.parametrize("failure", [UnavailableError("away"), DataLossError("its tombstone does not verify")])
async def test_a_version_in_use_outlives_a_registry_that_is_away_or_spoiled(behind, failure):
    await behind.catalogue.get("local", "r8", 1)
    behind.stub.failure = failure
    await asyncio.sleep(30)
    assert (await behind.catalogue.get("local", "r8", 1)).key.number == 1


async def test_a_withdrawn_version_never_stands_in(world, make):
    world.publish(make.key(2), sequence=2, ready_at=())
    world.report("worker-a", {make.key(1): "READY", make.key(2): "LOADING"})
    assert (await world.router.resolve("local", PROD)).version.key.number == 1
    world.catalogue.withdraw(make.key(1))
    # The target's own state is the answer: it is being loaded, and a call waits for it.
    assert (await world.router.resolve("local", PROD)).version.key.number == 2
    assert not world.router.is_ready("local", PROD)
    assert dict(world.router.index("local"))[make.key(1)] == "UNAVAILABLE"


async def test_of_the_chain_of_a_failed_target_the_withdrawn_ones_are_passed_over(make):
    history = MemoryHistory()
    history.events = {
        f"payload-{n}": make.target(make.key(n), sequence=n, previous=f"payload-{n - 1}" if n > 1 else "")
        for n in (1, 2, 3)
    }
    fresh = make.world(history=history)
    for number in (1, 2, 3, 4):
        fresh.catalogue.add(make.served(make.key(number)))
    fresh.router.apply(make.target(make.key(4), sequence=4, previous="payload-3"))
    states = dict.fromkeys((make.key(1), make.key(2), make.key(3)), "READY")
    fresh.report("worker-a", states | {make.key(4): "FAILED"})
    assert (await fresh.router.resolve("local", PROD)).version.key.number == 3
    for number in (3, 2):
        fresh.catalogue.withdraw(make.key(number))
    assert (await fresh.router.resolve("local", PROD)).version.key.number == 1


async def test_a_withdrawn_target_is_refused_and_hides_no_other_model(world, make):
    world.publish(make.key(1, model="bbc"))
    world.catalogue.withdraw(make.key(1))
    with pytest.raises(VersionWithdrawnError):
        await world.router.resolve("local", PROD)
    principal = world.call("x").principal
    assert [entry.version.key.model for entry in await world.models.aliases(principal)] == ["bbc"]


async def test_a_caller_who_names_a_withdrawn_number_is_told(gateway, fake_platform):
    manifest = fake_platform.manifest_of(2)
    gateway.platform.registry.publish(manifest)
    gateway.platform.worker.hold(manifest)
    gateway.platform.registry.withdraw(manifest)
    code, details = await gateway.refused(gateway.classify("oil", version=2))
    assert (code, "was withdrawn (leaked rows)" in details) == (grpc.StatusCode.FAILED_PRECONDITION, True), details
    assert gateway.events() == []
