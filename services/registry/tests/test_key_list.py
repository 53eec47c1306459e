# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry hands its key list out, goes on to a newer one without a restart, and never back to an older one."""

import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_models.signing import SigningKey
from dragoman_models.testing import rotated_lists
from dragoman_models.verify import VerifyingKeys

NEW = SigningKey.generate()


@pytest.fixture
def own():
    """The registry's key; a test may have it retired."""
    return SigningKey.generate()


@pytest.fixture
def lists(own):
    """The registry's key alone; with a second one; the first revoked from the beginning of time."""
    return rotated_lists(own, NEW)


@pytest.fixture
async def listening(start, own, lists, tmp_path):
    """A registry that believes the first list, the file it is from, and a client."""
    path = tmp_path / "keys.json"
    path.write_bytes(lists[0])
    trusted = VerifyingKeys.load(path)
    async with start(key=own, trusted=trusted, verifying_keys_file=path) as registry, registry.client() as client:
        yield registry, path, client


async def key_list(client) -> pb.GetKeyListResponse:
    return await client.stub.GetKeyList(pb.GetKeyListRequest(), timeout=20)


async def test_whoever_reads_versions_gets_the_list_and_can_follow_it(listening, lists):
    registry, path, client = listening
    assert await key_list(client) == pb.GetKeyListResponse(key_chain=lists[0], sequence=1)
    path.write_bytes(lists[1])
    assert await registry.parts.upkeep._key_file.read_again()
    for identity in ("worker", "gateway", "tokenizer", "trainer", "launcher", "monitor"):
        async with registry.client(identity) as follower:
            reply = await key_list(follower)
            own = VerifyingKeys([registry.key.public_key])
            assert own.follow(reply.key_chain, what="x")
            assert own.sequence == reply.sequence == 2


async def test_plain_keys_are_no_list(client, refused):
    async with refused("NOT_FOUND", "keylist create"):
        await key_list(client)


async def test_an_unchanged_file_changes_nothing(listening):
    registry, _, _ = listening
    assert not await registry.parts.upkeep._key_file.read_again()


@pytest.mark.parametrize("what", ["older", "garbage", "gone", "too large"])
async def test_a_file_that_does_not_hold_is_logged_once_and_changes_nothing(listening, lists, caplog, what):
    registry, path, client = listening
    path.write_bytes(lists[1])
    assert await registry.parts.upkeep._key_file.read_again()
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes({"older": lists[0], "garbage": b"{", "too large": b" " * (4 << 20)}[what])
    for _ in range(2):
        assert not await registry.parts.upkeep._key_file.read_again()
    told = [r for r in caplog.records if r.message == "the key list was not read again"]
    assert len(told) == (2 if what == "gone" else 1)
    assert (await key_list(client)).sequence == 2


async def test_a_revocation_counts_without_a_restart_and_nothing_more_is_signed(
    listening, lists, make, refused, caplog
):
    registry, path, client = listening
    await client.publish(make.good())
    await client.move(1)
    await client.rule()
    path.write_bytes(lists[2])
    assert await registry.parts.upkeep._key_file.read_again()
    assert "the signing key is revoked" in caplog.text
    for call in (client.get(1), client.alias(), client.move(1), client.download(1, "model.json")):
        async with refused("DATA_LOSS", "revoked"):
            await call
    caplog.clear()
    await registry.catalog.scan()
    assert "acme/r8/versions/1" in " ".join(getattr(r, "reason", "") for r in caplog.records)
    async with refused("FAILED_PRECONDITION", "is revoked; start the registry with another"):
        await client.publish(make.good(2), publish_id="p2", model="other")


async def test_a_new_key_counts_without_a_restart(listening, lists, start, make):
    registry, path, client = listening
    await client.publish(make.good())
    path.write_bytes(lists[1])
    async with start(registry.store, key=NEW, trusted=VerifyingKeys.load(path)) as other, other.client() as moving:
        await moving.move(1)
        assert await registry.parts.upkeep._key_file.read_again()
        assert (await client.alias()).sequence == 1
