# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Versions that were withdrawn, and alias events that the registry no longer shows."""

import asyncio
import dataclasses
import os
import signal

import numpy as np
import pytest

from dragoman_models.signing import SigningKey
from dragoman_models.tombstone import TombstoneRecord, sign_tombstone
from dragoman_worker.alias_memory import AliasMemory

ROW = np.array([3, 5, 7], dtype=np.int32)
PROD = ("local", "r8", "prod")


def tombstone(world, manifest, *, key=None, **changes) -> bytes:
    record = TombstoneRecord(
        tenant=manifest.tenant,
        model=manifest.model,
        version=manifest.number,
        root_sha256=manifest.root_sha256,
        reason="leaks names",
        withdrawn_by="operator/ada",
        withdraw_time=manifest.publish_time,
        nonce="n",
    )
    return sign_tombstone(dataclasses.replace(record, **changes), key or world.key)


def audited(caplog) -> list[tuple[str, str, str]]:
    return [
        (record.message, record.object, record.reason)
        for record in caplog.records
        if record.name == "dragoman_worker.audit"
    ]


async def answers(follower, number) -> bool:
    engine = follower.placement.find("local", "r8", number).serving_engine()
    return (await engine.score("local", [ROW], asyncio.get_running_loop().time() + 10)).shape == (1, 3)


async def test_withdrawn_version_is_refused_though_all_its_bytes_are_here_and_the_old_one_serves(
    world, follow, linear_package, caplog
):
    first, second = (world.publish(number, linear_package(number)) for number in (1, 2))
    world.point(first)
    world.point(second, alias="trial")
    follower = await follow()
    await follower.until_states({1: "READY", 2: "READY"})
    world.point(first, alias="trial")
    await follower.until_states({1: "READY"})
    assert {file.sha256 for file in second.files} <= {
        blob.name for blob in (follower.cache_folder / "sha256").iterdir()
    }
    world.registry.tombstones["local", "r8", 2] = tombstone(world, second)
    downloads = dict(world.registry.num_downloads)
    world.point(second)
    await follower.until_states({1: "READY", 2: "FAILED"})
    assert follower.held(2).reason == (
        "FAILED_PRECONDITION: local/r8/versions/2 was withdrawn by operator/ada: leaks names"
    )
    assert world.registry.num_downloads == downloads
    assert await answers(follower, 1)
    assert audited(caplog) == [("audit: object refused", "local/r8/versions/2", follower.held(2).reason)]


FORGERIES = {
    "stranger": lambda world, manifest, _other: tombstone(world, manifest, key=SigningKey.generate()),
    "of another version": lambda world, _manifest, other: tombstone(world, other),
    "of another tenant": lambda world, manifest, _other: tombstone(world, manifest, tenant="acme"),
    "of other content": lambda world, manifest, _other: tombstone(world, manifest, root_sha256="0" * 64),
    "not signed": lambda _world, _manifest, _other: b"{}",
    "empty": lambda _world, _manifest, _other: b"",
}


@pytest.mark.parametrize("how", FORGERIES)
async def test_forged_tombstone_takes_nothing_down_that_serves_and_lets_nothing_new_load(
    world, follow, linear_package, caplog, how
):
    first, second = (world.publish(number, linear_package(number)) for number in (1, 2))
    world.point(first)
    follower = await follow()
    await follower.until_states({1: "READY"})
    for number, manifest, other in ((1, first, second), (2, second, first)):
        world.registry.tombstones["local", "r8", number] = FORGERIES[how](world, manifest, other)
    # Its process is started again without a question about the tombstone.
    os.kill(follower.launcher.pid, signal.SIGKILL)
    await follower.until(lambda: follower.held(1).num_starts == 2)
    world.point(second)
    await follower.until_states({1: "READY", 2: "FAILED"})
    assert follower.held(2).reason.startswith("DATA_LOSS: local/r8/")
    assert await answers(follower, 1)
    assert ("audit: object refused", "local/r8/versions/2", follower.held(2).reason) in audited(caplog)
    # The forgery is removed: the version comes up by itself.
    world.registry.tombstones.clear()
    await follower.until_states({2: "READY"})


async def test_worker_that_starts_on_an_alias_to_a_withdrawn_version_serves_the_one_before(
    world, follow, linear_package
):
    for number in (1, 2):
        world.point(world.publish(number, linear_package(number)))
    manifest = world.publish(2, linear_package(2))
    world.registry.tombstones["local", "r8", 2] = tombstone(world, manifest)
    follower = await follow()
    await follower.until_states({1: "READY", 2: "FAILED"})
    assert await answers(follower, 1)


async def test_watch_that_comes_back_says_what_was_seen_and_gets_only_what_followed(world, follow, linear_package):
    for number in (1, 2):
        world.point(world.publish(number, linear_package(number)))
    follower = await follow()
    await follower.until_states({2: "READY"})
    world.registry.break_watches()
    world.point(world.publish(3, linear_package(3)))
    await follower.until_states({3: "READY"})
    assert world.registry.seen[0] == {}
    assert world.registry.seen[1] == {PROD: 2}


async def test_worker_that_starts_anew_says_what_its_node_has_seen(world, follow, linear_package):
    for number in (1, 2):
        world.point(world.publish(number, linear_package(number)))
    first = await follow()
    await first.until_states({2: "READY"})
    second = await follow()
    await second.until_states({2: "READY"})
    assert world.registry.seen == [{}, {PROD: 2}]


async def until_audited(caplog, num: int) -> list[tuple[str, str, str]]:
    async with asyncio.timeout(10):
        while len(audited(caplog)) < num:  # noqa: ASYNC110 - a log record sets no event
            await asyncio.sleep(0.01)
    return audited(caplog)


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("num_left", [1, 0])
async def test_newest_event_that_was_removed_from_the_registry_is_kept_to_and_audited(
    world, follow, linear_package, caplog, is_restarted, num_left
):
    for number in (1, 2):
        world.point(world.publish(number, linear_package(number)))
    follower = await follow()
    await follower.until_states({2: "READY"})
    world.registry.lose_events_after(PROD, num_left)
    if is_restarted:
        follower = await follow()
    else:
        world.registry.break_watches()
    ((message, name, reason),) = await until_audited(caplog, 1)
    assert (message, name) == ("audit: object lost", "local/r8/aliases/prod")
    assert reason.startswith(f"event 2 was seen and verified, the registry's newest is {num_left};")
    await follower.until_states({2: "READY"})
    assert await answers(follower, 2)


async def test_registry_that_sends_an_older_event_again_moves_nothing_and_is_audited(
    world, follow, linear_package, caplog
):
    first = world.publish(1, linear_package(1))
    old = world.event(first)
    world.registry.set_alias(old, 1)
    follower = await follow()
    await follower.until_states({1: "READY"})
    world.point(world.publish(2, linear_package(2)))
    await follower.until_states({2: "READY"})
    world.registry.set_alias(old)
    found = await until_audited(caplog, 1)
    assert [(message, name) for message, name, _ in found] == [("audit: object refused", "local/r8/aliases/prod")]
    assert "event 1 came after event 2 was seen" in found[0][2]
    assert await answers(follower, 2)


class TestMemory:
    @pytest.fixture
    def memory(self, world, tmp_path):
        return AliasMemory(tmp_path, world.keys)

    @pytest.fixture
    def taken(self, world, linear_package):
        """Events 1 to 3 of an alias, as records and envelopes."""
        from dragoman_models.verify import verify_alias_event

        events = [world.event(world.publish(number, linear_package(number))) for number in (1, 2, 3)]
        return [
            (verify_alias_event(one.envelope, world.keys, tenant="local", model="r8", alias="prod"), one.envelope)
            for one in events
        ]

    def test_newest_event_is_recalled_whatever_the_order_in_which_workers_remember(self, memory, taken, tmp_path):
        for index in (1, 2, 0, 1):
            memory.remember(*taken[index])
        assert memory.recall() == [taken[2]]
        memory.remember(*taken[2])
        assert len(list((tmp_path / "aliases").iterdir())) == 1

    def test_what_does_not_verify_is_not_recalled(self, world, memory, taken, tmp_path):
        record, envelope = taken[2]
        memory.remember(record, envelope)
        (path,) = (tmp_path / "aliases").iterdir()
        middle = len(envelope) // 2
        flipped = envelope[:middle] + bytes([envelope[middle] ^ 1]) + envelope[middle + 1 :]
        for content in (b"", b"{}", envelope[:-1], flipped, taken[0][1]):
            path.write_bytes(content)
            assert memory.recall() == []
        path.write_bytes(envelope)
        assert memory.recall() == [(record, envelope)]
        stranger = AliasMemory(tmp_path, type(world.keys)([SigningKey.generate().public_key]))
        assert stranger.recall() == []

    def test_folder_with_other_things_in_it_is_no_obstacle(self, memory, taken, tmp_path):
        memory.remember(*taken[0])
        for name in ("x", ".y.tmp", "z.9", f"{'a' * 64}.1"):
            (tmp_path / "aliases" / name).write_bytes(b"?")
        (tmp_path / "aliases" / f"{'b' * 64}.2").mkdir()
        assert memory.recall() == [taken[0]]
