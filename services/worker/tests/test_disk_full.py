# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A worker process whose cache is a disk of 4 MiB: it says what to do, lives, and recovers without a restart."""

import asyncio
import hashlib
import json
import os
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc

pytestmark = pytest.mark.slow

DISK_BYTES = 4 << 20


@pytest.fixture
def disk(tmp_path):
    """A file system of 4 MiB; skipped where it cannot be mounted, but never as root in CI.

    Name it before start_worker: the worker must have ended before it is taken away.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        problem = done.stderr.strip() if done.returncode else ""
    except FileNotFoundError as error:
        problem = str(error)
    if problem:
        assert not (os.environ.get("CI") and os.geteuid() == 0), problem
        pytest.skip(f"a tmpfs cannot be mounted here: {problem}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def package_with(linear_package, number, num_bytes):
    return linear_package(number) | {"extra.bin": random.Random(number).randbytes(num_bytes)}


async def until(channel, predicate) -> dict[int, worker_pb2.LoadedVersion]:
    call = worker_pb2_grpc.WorkerServiceStub(channel).WatchLoaded(worker_pb2.WatchLoadedRequest(), timeout=60)
    async for message in call:
        versions = {one.number: one for one in message.versions}
        if predicate({number: worker_pb2.LoadState.Name(one.state)[11:] for number, one in versions.items()}):
            call.cancel()
            return versions
    raise AssertionError("the watch ended")


def check_whole(cache: Path) -> None:
    for blob in (cache / "sha256").iterdir():
        with suppress(FileNotFoundError):
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def log_lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "worker.log").read_text().splitlines()]


async def test_worker_on_a_full_disk_says_what_to_do_lives_and_recovers_when_there_is_room(
    disk, world, start_worker, linear_package, tmp_path
):
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * (DISK_BYTES - (512 << 10)))
    settings = {"CACHE_FOLDER": disk / "cache", "FIRST_LOAD_RETRY_MS": 20, "MAX_LOAD_RETRY_MS": 100}
    process, channel = await start_worker(**settings)
    world.point(world.publish(1, linear_package(1)))
    await until(channel, lambda states: states == {1: "READY"})
    world.point(world.publish(2, package_with(linear_package, 2, 2 << 20)))
    versions = await until(channel, lambda states: states == {1: "READY", 2: "FAILED"})
    assert versions[2].reason == (
        "UNAVAILABLE: the disk that holds the worker's cache (CACHE_FOLDER) is full: make room on it, or lower "
        "MAX_CACHE_BYTES below its size; the load is tried again by itself"
    )
    check_whole(disk / "cache")
    assert list((disk / "cache" / "incoming").iterdir()) == []
    ballast.unlink()
    await until(channel, lambda states: states == {2: "READY"})
    check_whole(disk / "cache")
    assert process.returncode is None
    assert not [line for line in log_lines(tmp_path) if "exc_info" in line or "Traceback" in json.dumps(line)]


async def test_content_that_nobody_uses_makes_room_on_a_disk_smaller_than_the_bound(
    disk, world, start_worker, linear_package
):
    _, channel = await start_worker(CACHE_FOLDER=disk / "cache", FIRST_LOAD_RETRY_MS=20, MAX_LOAD_RETRY_MS=100)
    # Two fit beside each other, three do not.
    for number in range(1, 6):
        world.point(world.publish(number, package_with(linear_package, number, 1_500_000)))
        await until(channel, lambda states, number=number: states == {number: "READY"})
    check_whole(disk / "cache")


async def test_worker_that_starts_on_a_disk_without_a_byte_left_comes_up_when_there_is_room(
    disk, world, start_worker, linear_package
):
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    settings = {"CACHE_FOLDER": disk / "cache", "FIRST_LOAD_RETRY_MS": 20, "MAX_LOAD_RETRY_MS": 100}
    world.point(world.publish(1, linear_package(1)))
    process, channel = await start_worker(**settings)
    await until(channel, lambda states: states == {1: "FAILED"})
    assert process.returncode is None
    ballast.unlink()
    await until(channel, lambda states: states == {1: "READY"})
    await asyncio.to_thread(check_whole, disk / "cache")
