# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Several worker processes on one cache folder: fetched once, bounded together, kept while used, swept after death."""

import asyncio
import hashlib
import json
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "cache_process.py"


class CacheProcess:
    """One worker's loader."""

    def __init__(self, process) -> None:
        self._process = process

    async def ask(self, op, number, tenant="local"):
        self._process.stdin.write(json.dumps({"op": op, "tenant": tenant, "number": number}).encode() + b"\n")
        async with asyncio.timeout(60):
            return json.loads(await self._process.stdout.readline())

    async def prepare(self, number, tenant="local"):
        return await self.ask("prepare", number, tenant)

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        # To the end, so that no pipe is left open behind the test.
        await self._process.communicate()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
async def start(world, registry_server, tmp_path, cache):
    started = []
    registry_server.keys.key("worker").save(tmp_path)
    world.key.save(tmp_path / "signing.pem", tmp_path / "signing.pub.pem")

    async def start(max_bytes=1 << 30, **changes):
        settings = {
            "target": registry_server.target,
            "key": str(tmp_path / "worker.pem"),
            "registry_keys": str(tmp_path / "signing.pub.pem"),
            "cache": str(cache),
            "max_bytes": max_bytes,
            **changes,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            json.dumps(settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        started.append(CacheProcess(process))
        return started[-1]

    yield start
    for one in started:
        await one.kill()


@pytest.fixture
def publish(world, linear_package):
    """Publishes versions that share no file but model.json, each with one of 1 MB."""

    def publish(number, tenant="local"):
        files = {path: data + b" " * number for path, data in linear_package(number).items() if path != "model.json"}
        files["extra.bin"] = random.Random(number).randbytes(1_000_000)
        return world.publish(number, linear_package(number) | files, tenant=tenant)

    return publish


class Gate:
    """Holds downloads of a path after their first piece."""

    def __init__(self, registry, monkeypatch) -> None:
        self.reached, self.opened, self.path = asyncio.Event(), asyncio.Event(), None
        download = registry.download

        async def gated(tenant, model, number, path, offset_bytes):
            async for chunk in download(tenant, model, number, path, offset_bytes):
                yield chunk
                if path == self.path:
                    self.reached.set()
                    await self.opened.wait()

        monkeypatch.setattr(registry, "download", gated)


@pytest.fixture
def gate(world, monkeypatch):
    return Gate(world.registry, monkeypatch)


def expected(manifest):
    return {"files": {file.path: file.sha256 for file in manifest.files}}


def size_of(manifest):
    return sum({file.sha256: file.size_bytes for file in manifest.files}.values())


def check_whole(cache) -> int:
    """Every content is what its name says; returns their size."""
    total = 0
    for blob in (cache / "sha256").iterdir():
        with suppress(FileNotFoundError):
            data = blob.read_bytes()
            assert hashlib.sha256(data).hexdigest() == blob.name
            total += len(data)
    return total


async def test_processes_that_race_for_one_version_fetch_each_file_once_and_all_have_it(
    world, start, publish, cache, gate
):
    manifest = publish(1)
    gate.path = "extra.bin"
    workers = [await start() for _ in range(3)]
    answers = [asyncio.ensure_future(one.prepare(1)) for one in workers]
    await gate.reached.wait()
    gate.opened.set()
    assert await asyncio.gather(*answers) == [expected(manifest)] * 3
    assert world.registry.num_downloads == dict.fromkeys((file.path for file in manifest.files), 1)
    assert check_whole(cache) == size_of(manifest)
    assert list((cache / "incoming").iterdir()) == []


async def test_process_killed_in_the_middle_of_a_fetch_leaves_it_to_the_one_that_waits(
    world, start, publish, cache, gate
):
    manifest = publish(1)
    gate.path = "extra.bin"
    first, second = await start(), await start()
    doomed = asyncio.ensure_future(first.prepare(1))
    await gate.reached.wait()
    waiting = asyncio.ensure_future(second.prepare(1))
    gate.reached.clear()
    doomed.cancel()
    await asyncio.gather(doomed, return_exceptions=True)
    await first.kill()
    await gate.reached.wait()
    assert not waiting.done()
    gate.opened.set()
    assert await waiting == expected(manifest)
    assert world.registry.num_downloads["extra.bin"] == 2
    assert check_whole(cache) == size_of(manifest)
    assert list((cache / "incoming").iterdir()) == []
    assert len(list((cache / "workers").iterdir())) == 1


async def test_content_in_use_by_another_process_is_not_evicted_until_that_dies(start, publish, cache):
    manifests = [publish(1), publish(2)]
    bound = int(size_of(manifests[0]) * 1.5)
    first, second = await start(bound), await start(bound)
    assert await first.prepare(1) == expected(manifests[0])
    refused = await second.prepare(2)
    assert refused["error"].startswith("FailedPreconditionError: the worker's cache is limited to")
    assert await first.prepare(1) == expected(manifests[0])
    await first.kill()
    assert await second.prepare(2) == expected(manifests[1])
    assert check_whole(cache) <= bound
    # What is not used any more goes without a death, too.
    third = await start(bound)
    assert "error" in await third.prepare(1)
    await second.ask("release", 2)
    assert await third.prepare(1) == expected(manifests[0])


async def test_room_that_another_process_has_taken_and_not_filled_counts(start, publish, gate):
    manifests = [publish(1), publish(2)]
    bound = int(size_of(manifests[0]) * 1.5)
    gate.path = "card.md"
    first, second = await start(bound), await start(bound)
    loading = asyncio.ensure_future(first.prepare(1))
    await gate.reached.wait()
    assert (await second.prepare(2))["error"].startswith("FailedPreconditionError")
    gate.opened.set()
    assert await loading == expected(manifests[0])


async def test_process_that_does_not_move_is_waited_for_no_longer_than_the_limit(world, start, publish, gate):
    manifest = publish(1)
    gate.path = "extra.bin"
    first, second = await start(), await start(min_fetch_s=0.5)
    loading = asyncio.ensure_future(first.prepare(1))
    await gate.reached.wait()
    answer = await second.prepare(1)
    assert answer["error"].startswith("DeadlineExceededError: local/r8/versions/1/extra.bin: not fetched within")
    gate.opened.set()
    assert await loading == expected(manifest)
    assert await second.prepare(1) == expected(manifest)
    assert world.registry.num_downloads["extra.bin"] == 1


async def test_damaged_content_is_fetched_again_once_for_all_processes_that_use_it(world, start, publish, cache):
    manifest = publish(1)
    first, second = await start(), await start()
    for one in (first, second):
        assert await one.prepare(1) == expected(manifest)
    (blob,) = [cache / "sha256" / file.sha256 for file in manifest.files if file.path == "extra.bin"]
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    assert await second.ask("recheck", 1) == expected(manifest)
    assert check_whole(cache) == size_of(manifest)
    assert await first.ask("recheck", 1) == expected(manifest)
    assert world.registry.num_downloads["extra.bin"] == 2


@pytest.mark.slow
async def test_crowd_with_kills_keeps_the_bound_and_loads_only_what_was_signed(world, start, publish, cache):
    seed = 11
    generator = random.Random(seed)
    manifests = {number: publish(number) for number in range(1, 5)}
    bound = int(size_of(manifests[1]) * 2.5)
    workers = [await start(bound) for _ in range(3)]
    most = num_loaded = 0

    async def turn(index) -> None:
        nonlocal num_loaded
        number = generator.randrange(1, 5)
        asking = asyncio.ensure_future(workers[index].prepare(number))
        if generator.random() < 0.3:
            await asyncio.wait([asking], timeout=generator.random() * 0.05)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await workers[index].kill()
            workers[index] = await start(bound)
            return
        answer = await asking
        assert answer == expected(manifests[number]) or answer["error"].startswith("FailedPrecondition"), (seed, answer)
        num_loaded += "files" in answer
        await workers[index].ask("release", number)

    for _ in range(12):
        await asyncio.gather(*(turn(index) for index in range(3)))
        most = max(most, check_whole(cache))
    assert num_loaded > 5
    assert 0 < most <= bound
    last = await start(bound)
    for one in workers:
        await one.kill()
    assert await last.prepare(1) == expected(manifests[1])
    assert list((cache / "incoming").iterdir()) == []
    assert len(list((cache / "workers").iterdir())) == 1
