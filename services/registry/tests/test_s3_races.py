# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Races on a real MinIO, each fought by two registries: publishers, movers, and garbage collection against both."""

import asyncio
import hashlib
import io
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import grpc
import pytest

from dragoman_common.settings import Secret
from dragoman_models.record_fields import canonical_json
from dragoman_registry import garbage_background, garbage_marks, layout, publish_intent
from dragoman_registry.garbage_background import collect_forever
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings

pytestmark = pytest.mark.slow

# The full size, for bench/RESULTS.md, is 200.
NUM_PUBLISHES = int(os.environ.get("DRAGOMAN_TEST_NUM_PUBLISHES", "40"))
NUM_PUBLISHERS = 10
PAUSE_S = 0.2
ALIASES = tuple(f"trial{number}" for number in range(10))


@pytest.fixture
def bucket(minio) -> Bucket:
    return Bucket(name=minio.make_bucket(), endpoint=minio.endpoint, region=minio.region)


@pytest.fixture
def store(minio, bucket):
    given = {"s3_access_key_id": Secret(minio.access_key), "s3_secret_access_key": Secret(minio.secret_key)}
    store = S3Store(bucket, S3Settings(**given))
    yield store
    store.close()


@pytest.fixture
async def pair(start, store):
    """A client of each of two registries on the store."""
    async with start(store) as one, start(store) as two, one.client() as first, two.client() as second:
        yield first, second


def codes(outcomes: list[object]) -> Counter[str]:
    return Counter(
        outcome.code().name if isinstance(outcome, grpc.RpcError) else "OK" if outcome else "nothing"
        for outcome in outcomes
    )


async def test_32_racing_publishers_with_automatic_numbers_make_32_versions_without_a_gap(pair, make):
    outcomes = await asyncio.gather(
        *(pair[n % 2].publish(make.files(f"w{n}".encode()), publish_id=f"p{n}") for n in range(32))
    )
    assert sorted(reply.version.number for reply in outcomes) == list(range(1, 33))
    assert all(reply.created for reply in outcomes)
    assert len({reply.version.root_sha256 for reply in outcomes}) == 32


async def test_of_32_racing_publishers_of_one_explicit_number_one_wins_and_31_conflict(pair, make):
    outcomes = await asyncio.gather(
        *(pair[n % 2].publish(make.files(f"w{n}".encode()), publish_id=f"p{n}", number=7) for n in range(32)),
        return_exceptions=True,
    )
    assert codes(outcomes) == {"OK": 1, "ALREADY_EXISTS": 31}
    assert (await pair[0].get(7)).number == 7


async def test_identical_bytes_published_32_times_at_once_are_one_version(pair, make):
    outcomes = await asyncio.gather(*(pair[n % 2].publish(make.good(), publish_id=f"p{n}") for n in range(32)))
    assert {reply.version.number for reply in outcomes} == {1}
    assert sum(reply.created for reply in outcomes) == 1


async def test_of_32_racing_moves_from_one_predecessor_one_wins(pair, make):
    for seed in range(3):
        await pair[0].publish(make.good(seed), publish_id=f"p{seed}")
    await pair[0].move(1)
    outcomes = await asyncio.gather(
        *(pair[n % 2].move(2 + n % 2, expected_sequence=1, request_id=f"q{n}") for n in range(32)),
        return_exceptions=True,
    )
    assert codes(outcomes) == {"OK": 1, "ABORTED": 31}
    [won] = [outcome for outcome in outcomes if not isinstance(outcome, grpc.RpcError)]
    assert [await client.alias() for client in pair] == [won, won]


class Planter:
    """Leaves blobs as garbage that is due, behind the registries' backs."""

    def __init__(self, minio, bucket: Bucket) -> None:
        self._admin, self._bucket = minio.admin(), bucket.name
        self._threads = ThreadPoolExecutor(1)
        self._mark = canonical_json({"format": garbage_marks.CONDEMNED_FORMAT, "time": "2026-01-01T00:00:00.000000Z"})

    def _put(self, key: str, data: bytes) -> None:
        self._admin.put_object(self._bucket, key, io.BytesIO(data), len(data))

    async def condemn(self, *contents: bytes) -> None:
        loop = asyncio.get_running_loop()
        for data in contents:
            sha256 = hashlib.sha256(data).hexdigest()
            await loop.run_in_executor(self._threads, self._put, layout.blob("acme", sha256), data)
            await loop.run_in_executor(self._threads, self._put, layout.condemned_blob("acme", sha256), self._mark)

    def close(self) -> None:
        self._threads.shutdown()


class CountsDeletions:
    """A store that counts the blobs that were deleted from it."""

    def __init__(self, store: S3Store) -> None:
        self._store, self.num_deleted = store, 0

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    async def delete(self, key: str) -> None:
        self.num_deleted += "/blobs/" in key
        await self._store.delete(key)


class Fight:
    """Publishers and movers against collectors, on one store."""

    def __init__(self, clients, planter: Planter, packages: list[dict[str, bytes]]) -> None:
        self._clients, self._planter, self._packages = clients, planter, packages
        self._waiting = count()

    async def dry_runs(self) -> None:
        while True:
            try:
                await self._clients[0].gc(dry_run=True)
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error.details()  # noqa: PT017
            await asyncio.sleep(PAUSE_S)

    async def publisher(self) -> None:
        while (number := next(self._waiting)) < NUM_PUBLISHES:
            await self._publish(number)

    async def _publish(self, number: int) -> None:
        content, client = number // 2, self._clients[number % 2]
        await self._planter.condemn(
            self._packages[content]["weights.safetensors"],
            self._packages[(content + 5) % len(self._packages)]["weights.safetensors"],
            f"orphan {number}".encode(),
        )
        for _ in range(20):
            try:
                reply = await client.publish(self._packages[content], publish_id=f"p{number}")
                alias = ALIASES[number % len(ALIASES)]
                await client.move(reply.version.number, alias=alias, request_id=f"q{number}")
                return
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.ABORTED, error.details()  # noqa: PT017 - most tries pass
        pytest.fail("20 tries")


async def test_of_many_publishes_and_moves_that_race_with_collections_on_minio_nothing_is_lost(
    start, store, minio, bucket, make, monkeypatch
):
    """Each content twice, by two registries that collect without being asked and without a wait, beside dry runs."""
    monkeypatch.setattr(publish_intent, "DELETE_WINDOW_S", 0.5)
    monkeypatch.setattr(publish_intent, "SPARE_WAIT_S", 1.5)
    monkeypatch.setattr(garbage_background.random, "uniform", lambda _low, _high: 1.0)
    planter, counting = Planter(minio, bucket), CountsDeletions(store)
    packages = [make.good(seed, num_wrong=10 + seed % 3) for seed in range(NUM_PUBLISHES // 2)]
    how = {"gc_wait_s": 0.0, "trial_aliases": ALIASES}
    async with (
        start(counting, **how) as one,
        start(counting, **how) as two,
        one.client() as first,
        two.client() as second,
    ):
        fight = Fight((first, second), planter, packages)
        collectors = [collect_forever(registry.parts.collector, PAUSE_S) for registry in (one, two)]
        running = [asyncio.create_task(work) for work in (*collectors, fight.dry_runs())]
        try:
            async with asyncio.TaskGroup() as publishers:
                for _ in range(NUM_PUBLISHERS):
                    publishers.create_task(fight.publisher())
        finally:
            for task in running:
                task.cancel()
            outcomes = await asyncio.gather(*running, return_exceptions=True)
        assert [error for error in outcomes if not isinstance(error, asyncio.CancelledError)] == []
        await one.catalog.scan()
        versions = await first.numbers()
        assert len(versions) == NUM_PUBLISHES // 2
        for number in versions:
            for file in (await first.get(number)).files:
                assert hashlib.sha256(await first.download(number, file.path)).hexdigest() == file.sha256
        assert counting.num_deleted >= NUM_PUBLISHES // 10
        for alias in ALIASES:
            assert await first.alias(alias) == await second.alias(alias)
    planter.close()
