# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A version that was withdrawn is refused, also where its tokenizer is in memory, and soon enough."""

import asyncio
import logging

import pytest

from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_tokenizer.version import VersionName, WithdrawnVersionError
from dragoman_tokenizer.version_tokenizers import VersionTokenizers

R8_3 = VersionName("local", "r8", 3)


@pytest.fixture
async def tokenizers(source, inline):
    # Fake time and a thread that finishes in real time do not go together: work runs where it is asked for.
    tokenizers = VersionTokenizers(
        source, inline, max_cached_bytes=1_000_000, max_cached_versions=100, load_timeout_s=10
    )
    yield tokenizers
    await tokenizers.close()


async def test_withdrawn_version_is_never_loaded(tokenizers, source):
    source.withdraw("local", "r8", 3)
    for _ in range(2):
        with pytest.raises(WithdrawnVersionError, match="a test said so"):
            await tokenizers.get(R8_3)
    assert source.num_reads == 0


@pytest.mark.looptime
async def test_cached_version_in_constant_use_is_refused_within_half_a_minute(tokenizers, source):
    await tokenizers.get(R8_3)
    source.withdraw("local", "r8", 3)
    started_s = asyncio.get_running_loop().time()
    with pytest.raises(WithdrawnVersionError):
        for _ in range(200):
            await tokenizers.get(R8_3)
            await asyncio.sleep(0.5)
    assert asyncio.get_running_loop().time() - started_s <= 30
    num_manifests = source.num_manifests
    with pytest.raises(WithdrawnVersionError):
        await tokenizers.get(R8_3)
    assert source.num_manifests == num_manifests == 2


@pytest.mark.looptime
async def test_cached_version_that_lay_idle_is_refused_at_its_next_use(tokenizers, source):
    await tokenizers.get(R8_3)
    source.withdraw("local", "r8", 3)
    await asyncio.sleep(30)
    with pytest.raises(WithdrawnVersionError):
        await tokenizers.get(R8_3)


@pytest.mark.looptime
async def test_version_in_use_costs_one_question_in_fifteen_seconds(tokenizers, source):
    await tokenizers.get(R8_3)
    for _ in range(1_000):
        await asyncio.sleep(0.09)
        await tokenizers.get(R8_3)
    assert source.num_manifests == 1 + 5


@pytest.mark.looptime
@pytest.mark.parametrize("failure", [UnavailableError("away"), DataLossError("a tombstone that nobody signed")])
async def test_version_in_use_outlives_a_registry_that_is_away_or_spoiled(tokenizers, source, failure, caplog):
    await tokenizers.get(R8_3)
    await asyncio.sleep(30)
    source.failures.append(failure)
    with caplog.at_level(logging.WARNING):
        assert (await tokenizers.get(R8_3)).name == R8_3
    assert len(caplog.records) == 1
