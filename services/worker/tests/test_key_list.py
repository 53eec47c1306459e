# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Keys that come and go in the registry's list, as a worker that follows it over gRPC takes them."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from dragoman_common.audit import Audit
from dragoman_models import key_following
from dragoman_models.key_following import KeyFollower
from dragoman_models.signing import SigningKey
from dragoman_models.testing import foreign_list, rotated_lists
from dragoman_worker.file_url import FileUrlReader
from dragoman_worker.registry_client import RegistryClient

NEW = SigningKey.generate()


def audited(caplog) -> list[tuple[str, str]]:
    return [(record.message, record.object) for record in caplog.records if record.name == "dragoman_worker.audit"]


@pytest.fixture
def lists(world):
    """The world's key; with a second one; the first revoked from the beginning of time."""
    return rotated_lists(world.key, NEW)


@pytest.fixture
async def start(world, follow, registry_server, tmp_path, monkeypatch):
    """A worker's placement and its key follower, which asks the registry over gRPC."""
    monkeypatch.setattr(key_following, "MIN_PAUSE_S", 0.05)
    stack = AsyncExitStack()
    tasks = []

    async def begin(period_s=3600):
        follower = await follow()
        channel = await stack.enter_async_context(registry_server.channel("worker"))
        keys = KeyFollower(
            world.keys,
            RegistryClient(channel, FileUrlReader()).key_list,
            audit=Audit("worker"),
            on_newer=follower.placement.keys_are_newer,
            period_s=period_s,
            kept=tmp_path / "kept.json",
        )
        tasks.append(asyncio.create_task(keys.run()))
        follower.keys = keys
        return follower

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await stack.aclose()


async def test_a_version_signed_by_a_new_key_loads_without_a_restart_once_the_list_has_it(
    world, start, linear_package, lists
):
    first = world.publish(1, linear_package(1))
    world.point(first)
    world.registry.keys = lists[0]
    follower = await start()
    await follower.until_states({1: "READY"})
    await until_sequence(world, 1)
    world.registry.keys = lists[1]
    # Event and version come before the worker knows the key: meeting it makes the worker ask.
    world.point(world.publish(2, linear_package(2), key=NEW), key=NEW)
    await follower.until_states({2: "READY"})
    assert world.keys.sequence == 2


async def until_sequence(world, sequence) -> None:
    async with asyncio.timeout(10):
        while world.keys.sequence < sequence:  # noqa: ASYNC110 - keys set no event
            await asyncio.sleep(0.01)


async def until_audited(caplog, *expected) -> None:
    async with asyncio.timeout(10):
        while not set(expected) <= set(audited(caplog)):  # noqa: ASYNC110 - a log record sets no event
            await asyncio.sleep(0.01)


async def test_what_serves_by_a_revoked_key_goes_on_with_an_audit_record_and_is_not_loaded_anew(
    world, start, follow, linear_package, lists, caplog
):
    world.point(world.publish(1, linear_package(1)))
    world.registry.keys = lists[1]
    follower = await start()
    await follower.until_states({1: "READY"})
    await until_sequence(world, 2)
    world.registry.keys = lists[2]
    assert await follower.keys.ask()
    await until_audited(
        caplog,
        ("audit: object refused", "local/r8/versions/1"),
        ("audit: object refused", "local/r8/aliases/prod"),
    )
    assert follower.states() == {1: "READY"}
    # A worker that starts now takes neither the event nor the version, whatever its node remembers.
    other = await follow()
    await other.until(lambda: other.states() == {1: "FAILED"})
    # Once the alias moves, by a key that counts, the old version is gone for good.
    world.point(world.publish(2, linear_package(2), key=NEW), key=NEW)
    await follower.until_states({2: "READY"})
    world.point(world.publish(1, linear_package(1)), key=NEW)
    await follower.until(lambda: follower.states() == {1: "FAILED", 2: "READY"})
    assert "revoked" in follower.held(1).reason


async def test_what_the_registry_has_signed_again_serves_on_quietly(world, start, linear_package, lists, caplog):
    manifest = world.publish(1, linear_package(1))
    world.point(manifest)
    world.registry.keys = lists[1]
    follower = await start()
    await follower.until_states({1: "READY"})
    await until_sequence(world, 2)
    world.publish(1, linear_package(1), key=NEW)
    world.sign_again(("local", "r8", "prod"), NEW)
    world.registry.keys = lists[2]
    num_watches = len(world.registry.seen)
    assert await follower.keys.ask()
    async with asyncio.timeout(10):
        while len(world.registry.seen) == num_watches:  # noqa: ASYNC110 - the fake sets no event
            await asyncio.sleep(0.01)
    world.point(world.publish(2, linear_package(2), key=NEW), key=NEW)
    await follower.until_states({2: "READY"})
    assert audited(caplog) == []


@pytest.mark.parametrize("what", ["older", "forged"])
async def test_an_older_or_forged_list_is_refused_and_audited(world, start, linear_package, lists, caplog, what):
    world.point(world.publish(1, linear_package(1)))
    world.registry.keys = lists[1]
    follower = await start()
    await until_sequence(world, 2)
    stranger = SigningKey.generate()
    world.registry.keys = lists[0] if what == "older" else foreign_list(stranger)
    assert not await follower.keys.ask()
    assert ("audit: object refused", "key list of the registry") in audited(caplog)
    assert world.keys.sequence == 2


async def test_a_registry_without_a_list_is_served_as_before(world, start, linear_package, caplog):
    world.point(world.publish(1, linear_package(1)))
    follower = await start()
    assert not await follower.keys.ask()
    await follower.until_states({1: "READY"})
    assert (world.keys.sequence, audited(caplog)) == (0, [])


async def test_the_process_follows_the_list_and_keeps_it(world, start_worker, linear_package, lists, tmp_path):
    world.point(world.publish(1, linear_package(1)))
    world.registry.keys = lists[1]
    await start_worker(KEY_LIST_FILE=tmp_path / "kept.json", KEY_LIST_PERIOD_S=5)
    async with asyncio.timeout(20):
        while not (tmp_path / "kept.json").exists():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    assert (tmp_path / "kept.json").read_bytes() == lists[1]
