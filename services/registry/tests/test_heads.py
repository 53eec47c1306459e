# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A writer to the store who takes away the newest event is found out, by registries that never saw it, too."""

import asyncio
import dataclasses
import secrets

import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.errors import UnavailableError
from dragoman_common.settings import Secret
from dragoman_models.head import HeadRecord, sign_head, verify_head
from dragoman_models.signing import SigningKey, sign_alias_record
from dragoman_models.verify import VerifyingKeys, verify_alias_event
from dragoman_registry.chain_head import Place, alias_place, head_of
from dragoman_registry.folder import FolderStore
from dragoman_registry.memory import MemoryStore
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings

MODEL = "tenants/acme/models/r8"
PROD, HEAD = f"{MODEL}/aliases/prod", f"{MODEL}/heads/aliases/prod"
POLICY_HEAD = f"{MODEL}/heads/policies"


@pytest.fixture(params=["memory", "folder", "minio"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "folder":
        store = FolderStore(tmp_path / "store")
    else:
        minio = request.getfixturevalue("minio")
        settings = S3Settings(s3_access_key_id=Secret(minio.access_key), s3_secret_access_key=Secret(minio.secret_key))
        store = S3Store(Bucket(name=minio.make_bucket(), endpoint=minio.endpoint, region=minio.region), settings)
    yield store
    store.close()


async def put(store, key: str, data: bytes | None) -> None:
    """What somebody with the store's credentials can do."""
    await store.delete(key)
    if data is not None:
        await store.create(key, data)


@pytest.fixture
async def moved(start, store, make):
    """prod at event 3, canary at event 1, two changes of the policy; and the registry that wrote them is gone."""
    async with start(store) as registry, registry.client() as client:
        for seed in range(2):
            await client.publish(make.good(seed), publish_id=f"p{seed}")
        await client.move(2, alias="canary")
        for version in (1, 2, 1):
            await client.move(version)
        for size in (10**6, 10**7):
            await client.rule(pb.GateRule(alias="other", quality=pb.QUALITY_RULE_NONE, max_size_bytes=size))
    return store


def head(start, data: bytes, chain: str = "aliases/prod") -> HeadRecord:
    return verify_head(data, VerifyingKeys([start.key.public_key]), tenant="acme", model="r8", chain=chain)


async def test_an_event_that_another_registry_wrote_and_that_went_again_is_missed(start, moved, refused):
    async with start(moved) as one, start(moved) as two, one.client() as first, two.client() as second:
        for _ in range(2):
            assert (await first.alias()).sequence == 3
        await second.move(2)
        await moved.delete(f"{PROD}/4")
        # What one has is whole and unchanged; only the head has moved on.
        async with refused("DATA_LOSS", "event 4 is gone"):
            await first.alias()


async def test_the_head_names_the_newest_event(start, moved):
    assert head(start, await moved.read(HEAD)).sequence == 3
    assert head(start, await moved.read(POLICY_HEAD), "policies").sequence == 2


async def test_a_removed_newest_event_is_data_loss_for_its_alias_and_named_and_nothing_moves(
    start, moved, refused, caplog
):
    await moved.delete(f"{PROD}/3")
    async with start(moved) as registry, registry.client() as client:
        [told] = [r for r in caplog.records if (r.name, r.message) == ("dragoman_registry.audit", "audit: object lost")]
        assert told.object == "acme/r8/aliases/prod"
        assert "acme/r8/aliases/prod: event 3 is gone" in told.reason
        for call in (client.alias, lambda: client.move(2), lambda: client.move(2, expected_sequence=2)):
            async with refused("DATA_LOSS", "event 3 is gone from the store"):
                await call()
        assert (await client.alias("canary")).sequence == 1
        assert (await client.move(1, alias="canary")).sequence == 2
        assert [event.alias for event in await watched(client)] == ["canary"]


async def watched(client) -> list[pb.AliasEvent]:
    call = client.stub.WatchAliases(pb.WatchAliasesRequest())
    found = []
    async for message in call:
        if message.HasField("event"):
            found.append(message.event)
        if message.is_snapshot_complete:
            call.cancel()
            break
    return found


async def test_an_alias_of_which_nothing_is_left_is_data_loss_and_named_at_the_start(start, moved, refused, caplog):
    for sequence in (1, 2, 3):
        await moved.delete(f"{PROD}/{sequence}")
    async with start(moved) as registry, registry.client() as client:
        assert "event 1 to 3 is gone" in " ".join(getattr(r, "reason", "") for r in caplog.records)
        async with refused("DATA_LOSS"):
            await client.alias()
        async with refused("DATA_LOSS"):
            await client.move(1)


async def test_a_removed_newest_policy_is_data_loss_and_nothing_moves(start, moved, refused, caplog):
    await moved.delete(f"{MODEL}/policies/2")
    async with start(moved) as registry, registry.client() as client:
        assert "acme/r8/policies: event 2 is gone" in " ".join(getattr(r, "reason", "") for r in caplog.records)
        for call in (
            lambda: client.move(2),
            client.rule,
            lambda: client.stub.GetGatePolicy(pb.GetGatePolicyRequest(model="r8")),
        ):
            async with refused("DATA_LOSS", "event 2 is gone"):
                await call()
        assert (await client.alias()).sequence == 3


@pytest.mark.parametrize("behind", [1, 2, None])
async def test_an_old_or_missing_head_is_written_anew_from_the_chain(start, moved, refused, behind):
    events = [await moved.read(f"{PROD}/{n}") for n in (1, 2, 3)]
    old = None
    if behind:
        keys = VerifyingKeys([start.key.public_key])
        record = verify_alias_event(events[2 - behind], keys, tenant="acme", model="r8", alias="prod")
        old = sign_head(_head_of(record), start.key)
    # As after a crash between event and head, or in a store of before there were heads.
    await put(moved, HEAD, old)
    async with start(moved) as registry, registry.client() as client:
        assert (await client.alias()).sequence == 3
        assert head(start, await moved.read(HEAD)).sequence == 3
    await moved.delete(f"{PROD}/3")
    async with start(moved) as registry, registry.client() as client:
        async with refused("DATA_LOSS"):
            await client.alias()


def _head_of(record) -> HeadRecord:
    return head_of(alias_place("acme", "r8", "prod"), record)


@pytest.mark.parametrize("what", ["garbage", "a flipped byte", "another's", "another key's", "another model's"])
async def test_a_head_that_does_not_verify_counts_as_missing_and_is_named(start, moved, caplog, what):
    data = await moved.read(HEAD)
    record = head(start, data)
    planted = {
        "garbage": b"{}",
        "a flipped byte": data[:200] + bytes([data[200] ^ 1]) + data[201:],
        "another's": await moved.read(f"{MODEL}/heads/aliases/canary"),
        "another key's": sign_head(dataclasses.replace(record, sequence=9), SigningKey.generate()),
        "another model's": sign_head(dataclasses.replace(record, model="other", sequence=9), start.key),
    }[what]
    await put(moved, HEAD, planted)
    async with start(moved) as registry, registry.client() as client:
        assert "acme/r8/heads/aliases/prod" in " ".join(getattr(r, "reason", "") for r in caplog.records)
        assert (await client.alias()).sequence == 3
    assert head(start, await moved.read(HEAD)).sequence == 3


async def test_an_event_that_a_signer_wrote_in_anothers_place_is_data_loss(start, moved, refused):
    keys = VerifyingKeys([start.key.public_key])
    record = verify_alias_event(await moved.read(f"{PROD}/3"), keys, tenant="acme", model="r8", alias="prod")
    await put(moved, f"{PROD}/3", sign_alias_record(dataclasses.replace(record, reason="other"), start.key))
    async with start(moved) as registry, registry.client() as client:
        async with refused("DATA_LOSS", "another one than the signed head names"):
            await client.alias()


async def test_when_head_and_event_are_put_back_together_only_the_copy_outside_the_store_tells(
    start, moved, tmp_path, refused
):
    before = await moved.read(HEAD)
    async with start(moved, state_folder=tmp_path / "state") as registry, registry.client() as client:
        await client.move(2)
    await moved.delete(f"{PROD}/4")
    await put(moved, HEAD, before)
    async with start(moved) as registry, registry.client() as client:
        assert (await client.alias()).sequence == 3
    async with start(moved, state_folder=tmp_path / "state") as registry, registry.client() as client:
        async with refused("DATA_LOSS", "event 4 is gone"):
            await client.alias()
        assert (await client.alias("canary")).sequence == 1


async def test_a_damaged_copy_is_named_and_counts_as_missing(start, moved, tmp_path, caplog):
    async with start(moved, state_folder=tmp_path):
        pass
    [copy] = tmp_path.rglob("prod.json")
    copy.write_bytes(b"{}")
    async with start(moved, state_folder=tmp_path) as registry, registry.client() as client:
        assert "the copy of a head does not verify" in caplog.text
        assert (await client.alias()).sequence == 3
    assert head(start, copy.read_bytes()).sequence == 3


async def test_a_writer_that_comes_late_puts_no_older_head_over_a_newer_one(start, moved):
    async with start(moved) as registry:
        chain = [event.record for event in await registry.catalog.checked_chain("acme", "r8", "prod")]
        place = Place("acme", "r8", "aliases/prod")
        async with start(moved) as other:
            for links in (chain[:1], chain[:2]):
                await other.parts.upkeep._heads.advance(place, links)
                assert head(start, await moved.read(HEAD)).sequence == 3


async def test_racing_movers_in_two_registries_leave_the_head_at_the_newest_event(start, moved):
    async with start(moved) as one, start(moved) as two, one.client() as first, two.client() as second:
        await asyncio.gather(
            *(
                client.move(1 + n % 2, request_id=f"{name}{n}")
                for n in range(6)
                for name, client in (("a", first), ("b", second))
            ),
            return_exceptions=True,
        )
        newest = (await first.alias()).sequence
        assert newest > 6
        assert head(start, await moved.read(HEAD)).sequence == newest


class NoHeads(MemoryStore):
    """Takes everything but heads."""

    async def create(self, key: str, data: bytes) -> None:
        if "/heads/" in key:
            raise UnavailableError("no")
        await super().create(key, data)


async def test_a_move_whose_head_cannot_be_written_stands(start, make, caplog):
    async with start(NoHeads()) as registry, registry.client() as client:
        await client.publish(make.good())
        assert (await client.move(1)).sequence == 1
        assert (await client.alias()).sequence == 1
        assert "a head was not written" in caplog.text


async def test_an_event_that_is_written_while_it_is_read_is_no_loss(start, moved):
    async with start(moved) as one, start(moved) as two, one.client() as moving, two.client() as reading:

        async def read() -> list[int]:
            return [(await reading.alias()).sequence for _ in range(40)]

        reads = asyncio.gather(read(), read())
        for n in range(8):
            await moving.move(1 + n % 2, request_id=secrets.token_hex(4))
        for sequences in await reads:
            assert sequences == sorted(sequences)
