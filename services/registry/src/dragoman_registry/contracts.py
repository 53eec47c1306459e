# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The contract of the ObjectStore port, as a test class: subclass it and give it a store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from dragoman_registry.ports import (
    BlobMismatchError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectStore,
)
from dragoman_registry.settled import probe

KEY = "tenants/acme/models/r8/versions/1"
DATA = b"0123456789"
SHA256 = hashlib.sha256(DATA).hexdigest()
BLOB = f"tenants/acme/blobs/sha256/{SHA256}"


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class ObjectStoreContract:
    """Subclasses provide the fixture ``store``."""

    async def test_an_object_is_read_back_whole_and_in_parts(self, store: ObjectStore) -> None:
        await store.create(KEY, DATA)
        assert await store.read(KEY) == DATA
        assert await store.read(KEY, offset=3, length=4) == b"3456"
        assert await store.read(KEY, offset=8, length=4) == b"89"
        assert await store.read(KEY, offset=10, length=4) == b""

    async def test_a_second_create_is_refused_and_changes_nothing(self, store: ObjectStore) -> None:
        await store.create(KEY, DATA)
        with pytest.raises(ObjectExistsError):
            await store.create(KEY, b"other")
        assert await store.read(KEY) == DATA

    async def test_of_32_racing_creators_one_wins_and_its_bytes_are_kept(self, store: ObjectStore) -> None:
        outcomes = await asyncio.gather(
            *(store.create(KEY, str(number).encode()) for number in range(32)), return_exceptions=True
        )
        winners = [number for number, outcome in enumerate(outcomes) if outcome is None]
        assert len(winners) == 1
        assert sum(isinstance(outcome, ObjectExistsError) for outcome in outcomes) == 31
        assert await store.read(KEY) == str(winners[0]).encode()

    async def test_an_object_is_replaced_only_in_the_expected_ones_place(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectChangedError):
            await store.replace(KEY, b"new", expected=DATA)
        await store.create(KEY, DATA)
        for other in (DATA[:-1], DATA + b"x", b""):
            with pytest.raises(ObjectChangedError):
                await store.replace(KEY, b"new", expected=other)
        await store.replace(KEY, b"newer", expected=DATA)
        assert await store.read(KEY) == b"newer"

    async def test_of_16_racing_replacers_of_one_state_one_wins_and_its_bytes_are_kept(
        self, store: ObjectStore
    ) -> None:
        await store.create(KEY, DATA)
        outcomes = await asyncio.gather(
            *(store.replace(KEY, str(number).encode(), expected=DATA) for number in range(16)), return_exceptions=True
        )
        winners = [number for number, outcome in enumerate(outcomes) if outcome is None]
        assert len(winners) == 1
        assert sum(isinstance(outcome, ObjectChangedError) for outcome in outcomes) == 15
        assert await store.read(KEY) == str(winners[0]).encode()

    async def test_what_is_not_kept_is_not_found(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectNotFoundError):
            await store.read(KEY)
        assert await store.names_below("tenants") == []

    async def test_what_is_deleted_is_gone_and_can_be_created_again(self, store: ObjectStore) -> None:
        await store.create(KEY, DATA)
        for _ in range(2):
            await store.delete(KEY)
            with pytest.raises(ObjectNotFoundError):
                await store.read(KEY)
        await store.delete("tenants/none/blobs/sha256/0")
        assert await store.names_below("tenants/acme/models/r8/versions") == []
        await store.create(KEY, b"new")
        assert await store.read(KEY) == b"new"

    async def test_names_below_a_prefix_are_listed_once_and_sorted(self, store: ObjectStore) -> None:
        for model, number in (("b", 1), ("a", 2), ("a", 10)):
            await store.create(f"tenants/acme/models/{model}/versions/{number}", DATA)
        assert await store.names_below("tenants/acme/models") == ["a", "b"]
        assert await store.names_below("tenants/acme/models/a/versions") == ["10", "2"]
        assert await store.names_below("tenants/acme/models/a/versions/2x") == []

    async def test_every_key_below_a_prefix_has_a_tag_that_changes_with_the_object(self, store: ObjectStore) -> None:
        model = "tenants/acme/models/r8"
        keys = [f"{model}/versions/{number}" for number in (1, 2, 10)] + [f"{model}/aliases/prod/1"]
        for key in keys:
            await store.create(key, DATA)
        await store.create("tenants/acme/models/r8x/versions/1", DATA)
        before = await store.tags_below(model)
        assert sorted(before) == sorted(keys)
        assert await store.tags_below(model) == before
        assert {tag.size_bytes for tag in before.values()} == {len(DATA)}
        assert list(await store.tags_below(f"{model}/aliases")) == keys[-1:]
        assert await store.tags_below(f"{model}/versions/1x") == {}
        await store.delete(keys[0])
        await store.create(keys[0], DATA[::-1])
        after = await store.tags_below(model)
        assert {key for key in keys if before[key] != after[key]} == {keys[0]}

    async def test_a_blob_is_kept_when_its_digest_is_right_and_again_without_harm(self, store: ObjectStore) -> None:
        for _ in range(2):
            await store.put_blob(BLOB, stream(DATA[:3], DATA[3:]), size_bytes=10, sha256=SHA256)
            assert await store.read(BLOB) == DATA

    async def test_an_empty_blob_is_a_blob(self, store: ObjectStore) -> None:
        empty = hashlib.sha256(b"").hexdigest()
        await store.put_blob(BLOB, stream(), size_bytes=0, sha256=empty)
        assert await store.read(BLOB) == b""

    @pytest.mark.parametrize("chunks", [(DATA[:9],), (DATA, b"x"), (b"x" * 10,), ()])
    async def test_a_blob_that_differs_from_its_digest_or_size_leaves_nothing(
        self, store: ObjectStore, chunks: tuple[bytes, ...]
    ) -> None:
        with pytest.raises(BlobMismatchError):
            await store.put_blob(BLOB, stream(*chunks), size_bytes=10, sha256=SHA256)
        with pytest.raises(ObjectNotFoundError):
            await store.read(BLOB)

    async def test_a_stream_that_breaks_leaves_nothing(self, store: ObjectStore) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield DATA[:5]
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await store.put_blob(BLOB, broken(), size_bytes=10, sha256=SHA256)
        with pytest.raises(ObjectNotFoundError):
            await store.read(BLOB)

    async def test_an_upload_that_is_cancelled_leaves_nothing(self, store: ObjectStore) -> None:
        stalled = asyncio.Event()

        async def stalling() -> AsyncIterator[bytes]:
            yield DATA
            stalled.set()
            await asyncio.Event().wait()

        upload = asyncio.create_task(store.put_blob(BLOB, stalling(), size_bytes=10, sha256=SHA256))
        await stalled.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        with pytest.raises(ObjectNotFoundError):
            await store.read(BLOB)

    async def test_the_store_passes_the_registrys_own_probe_at_every_start(self, store: ObjectStore) -> None:
        await probe(store, "probe")
        await probe(store, "probe")
