# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry's gRPC face as the worker reads it: the way back along an alias's chain."""

import pytest

from dragoman_common.clock import SystemClock
from dragoman_common.errors import NotFoundError
from dragoman_models.gate_basis import LostEvent
from dragoman_worker.alias_book import AliasBook
from dragoman_worker.file_url import FileUrlReader
from dragoman_worker.registry_client import RegistryClient


async def test_chain_is_read_backwards_to_its_first_event(world, registry_server, linear_package):
    for number in (1, 2, 3):
        world.point(world.publish(number, linear_package(number), tenant="acme"))
    async with registry_server.channel("worker") as channel:
        client = RegistryClient(channel, FileUrlReader())
        book = AliasBook(client, world.keys, SystemClock())
        async for update in client.watch_aliases({}):
            if update.is_snapshot_complete:
                break
            assert await book.take(update) == ("acme", "r8", "prod")
        (record,) = book.records.values()
        numbers = []
        while record is not None:
            numbers.append(record.stable_version)
            record = await book.before(record)
        assert numbers == [3, 2, 1]
        with pytest.raises(NotFoundError):
            await client.alias_envelope("acme", "r8", "prod", 4)


async def test_registry_that_holds_less_than_was_seen_says_so(world, registry_server, linear_package):
    world.point(world.publish(1, linear_package(1), tenant="acme"))
    async with registry_server.channel("worker") as channel:
        seen = {
            ("acme", "r8", alias): LostEvent(sequence=n, sha256="0" * 64) for alias, n in (("prod", 3), ("gone", 1))
        }
        updates = []
        async for update in RegistryClient(channel, FileUrlReader()).watch_aliases(seen):
            updates.append(update)
            if update.is_snapshot_complete:
                break
    assert [(one.tenant, one.model, one.alias, one.held_sequence) for one in updates[:-1]] == [
        ("acme", "r8", "prod", 1),
        ("acme", "r8", "gone", 0),
    ]
