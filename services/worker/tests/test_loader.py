# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Files on their way to the disk: loads at the same time, the cache's bound, and a cache that somebody clears."""

import asyncio
import shutil
from contextlib import suppress

import pytest

from dragoman_common.errors import DataLossError, FailedPreconditionError
from dragoman_worker.cache import Cache
from dragoman_worker.loader import Loader


def size_of(manifest):
    return sum({file.sha256: file.size_bytes for file in manifest.files}.values())


def num_cached_bytes(folder):
    total = 0
    for name in ("sha256", "incoming"):
        for path in (folder / name).iterdir():
            # A file that arrives moves from one to the other meanwhile.
            with suppress(FileNotFoundError):
                total += path.stat().st_size
    return total


@pytest.fixture
def publish(world, linear_package):
    """Publishes versions that share no file."""

    def publish(number, tenant="local"):
        files = {path: data + b" " * number for path, data in linear_package(number).items() if path != "model.json"}
        return world.publish(number, linear_package(number) | files, tenant=tenant)

    return publish


@pytest.fixture
def watched(world, tmp_path, monkeypatch):
    """The most bytes that the cache has held when a chunk arrived."""
    most = [0]
    download = world.registry.download

    async def measured(*where):
        async for chunk in download(*where):
            yield chunk
            # The consumer has written it.
            most[0] = max(most[0], num_cached_bytes(tmp_path / "cache"))
            await asyncio.sleep(0)

    monkeypatch.setattr(world.registry, "download", measured)
    return most


async def test_loads_at_the_same_time_keep_the_bound_together(world, publish, tmp_path, watched):
    manifests = [publish(number) for number in range(1, 5)]
    bound = int(size_of(manifests[0]) * 2.5)
    loader = Loader(world.registry, Cache(tmp_path / "cache", max_bytes=bound))
    answers = await asyncio.gather(*(loader.prepare(one) for one in manifests), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(one) for one in refused] == [FailedPreconditionError] * 2
    assert 0 < watched[0] <= bound
    assert num_cached_bytes(tmp_path / "cache") <= bound


async def test_room_that_a_failed_load_had_reserved_is_given_back(world, publish, tmp_path):
    good, bad = publish(1), publish(2)
    world.registry.files["local", "r8", 2]["card.md"] += b"x"
    loader = Loader(world.registry, Cache(tmp_path / "cache", max_bytes=int(size_of(good) * 1.5)))
    with pytest.raises(DataLossError):
        await loader.prepare(bad)
    await loader.release(bad)
    await loader.prepare(good)


async def test_one_content_for_two_tenants_takes_its_room_once(world, publish, tmp_path, watched):
    manifests = [publish(1, tenant) for tenant in ("a", "b")]
    bound = size_of(manifests[0])
    loader = Loader(world.registry, Cache(tmp_path / "cache", max_bytes=bound))
    await asyncio.gather(*(loader.prepare(one) for one in manifests))
    assert watched[0] <= bound


async def test_copy_in_the_registry_is_checked_without_a_second_copy_on_the_disk(world, publish, tmp_path, watched):
    manifest = publish(1)
    bound = size_of(manifest)

    async def load_and_end():
        cache = Cache(tmp_path / "cache", max_bytes=bound)
        await Loader(world.registry, cache).prepare(manifest)
        cache.close()

    await load_and_end()
    await load_and_end()
    assert watched[0] <= bound
    assert set(world.registry.num_downloads.values()) == {2}
    world.registry.files["local", "r8", 1]["card.md"] += b"x"
    with pytest.raises(DataLossError, match=r"card\.md"):
        await Loader(world.registry, Cache(tmp_path / "cache", max_bytes=bound)).prepare(manifest)


@pytest.mark.parametrize("removed", [".", "sha256", "incoming", "workers", "lock"])
async def test_cache_that_was_cleared_at_run_time_fills_again(world, publish, tmp_path, removed):
    first, second = publish(1), publish(2)
    loader = Loader(world.registry, Cache(tmp_path / "cache", max_bytes=1 << 30))
    await loader.prepare(first)
    if removed == "lock":
        (tmp_path / "cache" / removed).unlink()
    else:
        shutil.rmtree(tmp_path / "cache" / removed)
    for manifest in (first, second):
        files = await loader.prepare(manifest)
        assert {path.name for path in files.folder.iterdir()} == {file.path for file in manifest.files}


async def test_load_cancelled_at_any_step_leaves_no_use_no_room_taken_and_no_lock(world, publish, tmp_path):
    manifest = publish(1)
    folder = tmp_path / "cache"
    cache = Cache(folder, max_bytes=1 << 30)
    loader = Loader(world.registry, cache)
    num_turns = 0
    is_whole = False
    while not is_whole:
        loading = asyncio.create_task(loader.prepare(manifest))
        for _ in range(num_turns):
            await asyncio.sleep(0)
            if loading.done():
                break
            # Lets threads run on: what matters is that each await is cancelled in some round.
            await asyncio.to_thread(lambda: None)
        is_whole = loading.done()
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        num_turns += 1
    await loader.release(manifest)
    other = Loader(world.registry, Cache(folder, max_bytes=size_of(manifest)))
    async with asyncio.timeout(10):
        await other.prepare(manifest)

    def what_is_left():
        own = [path for path in (folder / "workers").iterdir() if not any((path / "versions").glob("*/*"))]
        rooms = [room for path in own for name in ("wanted", "versions") for room in (path / name).iterdir()]
        return len(own), rooms, list((folder / "incoming").iterdir())

    # A step that ran when its load was cancelled ends in its own time.
    async with asyncio.timeout(10):
        while what_is_left() != (1, [], []):  # noqa: ASYNC110 - a thread sets no event
            await asyncio.sleep(0.01)
    assert num_turns > 5
