# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What lies among a model's records and is none is named once in the audit log, on every store, and never read."""

import io

import pytest

from dragoman_common.settings import Secret
from dragoman_registry import unknown_objects
from dragoman_registry.folder import FolderStore
from dragoman_registry.memory import MemoryStore
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings
from dragoman_registry.unknown_objects import UnknownObjects

MODEL = "tenants/acme/models/r8"
PLANTED = [
    f"{MODEL}/run.py",
    f"{MODEL}/.git/config",
    f"{MODEL}/versions/run.py",
    f"{MODEL}/versions/.git/config",
    f"{MODEL}/versions/1 (copy)",
    f"{MODEL}/versions/01",
    f"{MODEL}/versions/1x/2",
    f"{MODEL}/aliases/prod/.git/config",
    f"{MODEL}/heads/prod",
    f"{MODEL}/a/b/c/d/e",
]


@pytest.fixture(params=["memory", "folder", pytest.param("minio", marks=pytest.mark.slow)])
def planting(request, tmp_path):
    """A store, and what writes past it under any name."""
    if request.param == "memory":
        store = MemoryStore()
        yield store, store.objects.__setitem__
    elif request.param == "folder":
        store = FolderStore(tmp_path / "store")

        def write(key, data):
            path = tmp_path / "store" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

        yield store, write
        store.close()
    else:
        server = request.getfixturevalue("minio")
        bucket = server.make_bucket()
        given = {"s3_access_key_id": Secret(server.access_key), "s3_secret_access_key": Secret(server.secret_key)}
        store = S3Store(Bucket(name=bucket, endpoint=server.endpoint, region=server.region), S3Settings(**given))
        admin = server.admin()
        yield store, lambda key, data: admin.put_object(bucket, key, io.BytesIO(data), len(data))
        store.close()


def named(caplog) -> list[str]:
    return [record.object for record in caplog.records if record.message == "audit: unknown object"]


async def test_each_is_named_once_never_read_and_changes_nothing(start, make, planting, caplog, monkeypatch):
    store, plant = planting
    async with start(store) as registry, registry.client() as client:
        for seed in range(2):
            await client.publish(make.good(seed), publish_id=f"p{seed}")
            await client.move(seed + 1)
        await client.say(1, "robustness", make.document("robustness"))
        await client.rule()
        await client.withdraw(1)
        await registry.catalog.scan()
        assert named(caplog) == []
        before = [await client.get(2), await client.alias(), await client.numbers()]
        for key in PLANTED:
            plant(key, b"#!/bin/sh\n")
        read, keys = store.read, []

        async def noted(key, **how):
            keys.append(key)
            return await read(key, **how)

        monkeypatch.setattr(store, "read", noted)
        for _ in range(2):
            await registry.catalog.scan()
        assert sorted(named(caplog)) == sorted(PLANTED)
        assert [await client.get(2), await client.alias(), await client.numbers()] == before
        await client.gc()
        assert not set(keys) & set(PLANTED)
    async with start(store):
        assert sorted(named(caplog)) == sorted(PLANTED * 2)


def test_what_came_back_is_named_again_and_a_flood_is_counted(caplog, monkeypatch):
    monkeypatch.setattr(unknown_objects, "MAX_NAMED", 3)
    unknown = UnknownObjects()
    one = f"{MODEL}/run.py"
    for keys in ([one], [one], [f"{MODEL}/versions/1"], [one]):
        unknown.look("acme", "r8", keys)
    assert named(caplog) == [one, one]
    flood = [one, *(f"{MODEL}/x{number}" for number in range(9))]
    for _ in range(2):
        unknown.look("acme", "r8", flood)
    assert len(named(caplog)) == 4
    [more] = [record for record in caplog.records if record.message == "audit: more unknown objects"]
    assert (more.object, more.count) == (MODEL, 7)


def test_a_name_that_is_no_text_can_be_logged(caplog):
    UnknownObjects().look("acme", "r8", [f"{MODEL}/\udcff\n"])
    [key] = named(caplog)
    assert key == f"{MODEL}/\\udcff\n"
