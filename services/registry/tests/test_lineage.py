# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Lineage: ancestors, descendants, and the versions of a job or of training rows."""

import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_registry import lineage

# version: parent. 1 <- 2 <- 3 <- 4 and 5;  2 <- 6;  7 alone;  8 <-> 9 in a ring;  10 below a parent that is not there
PARENTS = {1: 0, 2: 1, 3: 2, 4: 3, 5: 3, 6: 2, 7: 0, 8: 9, 9: 8, 10: 99}


@pytest.fixture
async def family(client, make):
    for number, parent in PARENTS.items():
        described = pb.Lineage(
            parent_version=parent,
            data_sha256=("a" if number % 2 else "b") * 64,
            code_revision="c0ffee",
            recipe="x" * 999,
        )
        await client.publish(make.files(str(number).encode()), publish_id=f"p{number}", lineage=described)
    return client


async def ask(client, **selector) -> list[tuple[int, int]]:
    reply = await client.stub.GetLineage(pb.GetLineageRequest(model="r8", **selector))
    return [(entry.version, entry.distance) for entry in reply.entries]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (1, [(1, 0), (2, 1), (3, 2), (6, 2), (4, 3), (5, 3)]),
        (3, [(1, -2), (2, -1), (3, 0), (4, 1), (5, 1)]),
        (6, [(1, -2), (2, -1), (6, 0)]),
        (7, [(7, 0)]),
        (8, [(9, -1), (8, 0)]),
        (10, [(10, 0)]),
    ],
)
async def test_ancestors_and_descendants_come_with_their_distance(family, version, expected):
    assert await ask(family, version=version) == expected


async def test_versions_are_found_by_the_rows_they_were_trained_on(family):
    assert await ask(family, data_sha256="b" * 64) == [(10, 0), (8, 0), (6, 0), (4, 0), (2, 0)]
    assert await ask(family, data_sha256="c" * 64) == []


async def test_versions_are_found_by_their_job(registry, family, make):
    async with registry.job("job-7") as job:
        await job.publish(make.good(70), publish_id="p70")
        await job.publish(make.good(71), publish_id="p71")
    assert await ask(family, job_id="job-7") == [(12, 0), (11, 0)]


async def test_entries_say_what_is_withdrawn_and_leave_the_recipe_out(family):
    await family.withdraw(2)
    reply = await family.stub.GetLineage(pb.GetLineageRequest(model="r8", version=3))
    assert [entry.version for entry in reply.entries if entry.is_withdrawn] == [2]
    assert reply.ByteSize() < 5 * 300


async def test_what_other_registries_published_is_found_by_number(start, make):
    async with start() as one, start(one.store) as two, one.client() as first, two.client() as second:
        await first.publish(make.good())
        assert await ask(second, version=1) == [(1, 0)]


async def test_bad_questions_are_refused(registry, family, refused):
    for selector in ({}, {"version": 0}, {"data_sha256": "x"}, {"job_id": ""}):
        async with refused("INVALID_ARGUMENT"):
            await ask(family, **selector)
    async with refused("NOT_FOUND"):
        await ask(family, version=99)
    async with registry.client(tenant="other") as other, refused("NOT_FOUND"):
        await ask(other, version=1)


async def test_a_large_family_is_cut_to_the_nearest(family, monkeypatch):
    monkeypatch.setattr(lineage, "MAX_ENTRIES", 3)
    assert await ask(family, version=3) == [(2, -1), (3, 0), (4, 1)]
