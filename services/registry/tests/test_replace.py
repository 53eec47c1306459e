# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Between the look and the write of a replacement nobody else's write is lost: the moment itself, made to happen."""

import threading

import pytest

from dragoman_common.settings import Secret
from dragoman_registry.folder import FolderStore
from dragoman_registry.ports import ObjectChangedError
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings

KEY = "tenants/acme/models/r8/heads/policies"


async def test_in_a_bucket_the_write_is_refused_once_the_object_is_another_one(minio, monkeypatch):
    settings = S3Settings(s3_access_key_id=Secret(minio.access_key), s3_secret_access_key=Secret(minio.secret_key))
    store = S3Store(Bucket(name=minio.make_bucket(), endpoint=minio.endpoint, region=minio.region), settings)
    await store.create(KEY, b"before")
    inner = store._client._minio
    write = inner._put_object

    def overtaken(bucket, key, data, headers):
        write(bucket, key, b"between", {})
        return write(bucket, key, data, headers)

    monkeypatch.setattr(inner, "_put_object", overtaken)
    with pytest.raises(ObjectChangedError):
        await store.replace(KEY, b"after", expected=b"before")
    assert await store.read(KEY) == b"between"
    store.close()


async def test_in_a_folder_a_second_process_waits_until_the_first_has_written(tmp_path, monkeypatch):
    first, second = FolderStore(tmp_path / "store"), FolderStore(tmp_path / "store")
    await first.create(KEY, b"before")
    outcomes: list[str] = []

    def replace_too() -> None:
        try:
            second._replace(KEY, b"second", b"before")
        except ObjectChangedError:
            outcomes.append("refused")
        else:
            outcomes.append("written")

    other = threading.Thread(target=replace_too)
    read = first._read

    def slow(key: str, offset: int, length: int | None) -> bytes:
        found = read(key, offset, length)
        other.start()
        # As long as it takes the other to write, if nothing holds it up.
        other.join(timeout=0.3)
        return found

    monkeypatch.setattr(first, "_read", slow)
    await first.replace(KEY, b"first", expected=b"before")
    other.join()
    assert outcomes == ["refused"]
    assert await second.read(KEY) == b"first"
    first.close()
    second.close()
