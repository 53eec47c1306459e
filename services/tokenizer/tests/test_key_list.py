# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Keys that come and go in the registry's list, as the tokenizer takes them over gRPC."""

import pytest

from dragoman_common.audit import Audit
from dragoman_common.errors import DataLossError
from dragoman_common.testing import TestKeys
from dragoman_models.key_following import KeyFollower
from dragoman_models.signing import SigningKey
from dragoman_models.testing import foreign_list, rotated_lists
from dragoman_tokenizer.registry_client import RegistryVersionSource
from dragoman_tokenizer.version import VersionName
from dragoman_tokenizer.version_tokenizers import VersionTokenizers

NEW, STRANGER = SigningKey.generate(), SigningKey.generate()
FORGED = foreign_list(STRANGER)


R8_3, R8_4 = VersionName("local", "r8", 3), VersionName("local", "r8", 4)


def audited(caplog):
    return [(line.message, line.object) for line in caplog.records if line.name == "dragoman_tokenizer.audit"]


@pytest.fixture
async def following(registry_server, inline, files, tmp_path):
    """A registry with version 3, the tokenizers over it, what follows its keys, and the lists."""
    server = registry_server.RegistryServer()
    server.publish("local", "r8", 3, files())
    async with registry_server.registry_running(server, TestKeys()) as channel:
        source = RegistryVersionSource(channel, server.trusted)
        tokenizers = VersionTokenizers(
            source, inline, max_cached_bytes=1_000_000, max_cached_versions=100, load_timeout_s=10
        )
        follower = KeyFollower(
            server.trusted,
            source.key_list,
            audit=Audit("tokenizer"),
            on_newer=tokenizers.keys_are_newer,
            period_s=60,
            kept=tmp_path / "kept.json",
        )
        yield server, tokenizers, follower, rotated_lists(server.key, NEW)
        await tokenizers.close()


async def test_a_version_signed_by_a_new_key_loads_without_a_restart_once_the_list_has_it(following, files):
    server, tokenizers, follower, lists = following
    server.publish("local", "r8", 4, files(), key=NEW)
    with pytest.raises(DataLossError):
        await tokenizers.get(R8_4)
    server.key_chain = lists[1]
    assert await follower.ask()
    assert (await tokenizers.get(R8_4)).name == R8_4


async def test_what_is_in_memory_by_a_revoked_key_goes_on_with_an_audit_record_and_is_not_loaded_anew(
    following, files, caplog
):
    server, tokenizers, follower, lists = following
    server.publish("local", "r8", 4, files())
    await tokenizers.get(R8_3)
    server.key_chain = lists[2]
    assert await follower.ask()
    for _ in range(2):
        assert (await tokenizers.get(R8_3)).name == R8_3
    assert audited(caplog) == [("audit: object refused", "local/r8/versions/3")]
    with pytest.raises(DataLossError, match="revoked"):
        await tokenizers.get(R8_4)


async def test_what_the_registry_has_signed_again_is_used_quietly(following, files, caplog):
    server, tokenizers, follower, lists = following
    await tokenizers.get(R8_3)
    server.publish("local", "r8", 3, files(), key=NEW)
    server.key_chain = lists[2]
    assert await follower.ask()
    num_calls = server.num_calls
    await tokenizers.get(R8_3)
    assert server.num_calls == num_calls + 1
    assert audited(caplog) == []


@pytest.mark.parametrize("what", ["older", "forged"])
async def test_an_older_or_forged_list_is_refused_and_audited(following, caplog, what):
    server, tokenizers, follower, lists = following
    server.key_chain = lists[1]
    assert await follower.ask()
    server.key_chain = {"older": lists[0], "forged": FORGED}[what]
    assert [await follower.ask() for _ in range(2)] == [False, False]
    assert audited(caplog) == [("audit: object refused", "key list of the registry")]
    assert server.trusted.sequence == 2
    assert (await tokenizers.get(R8_3)).name == R8_3


async def test_a_registry_of_before_there_were_lists_is_served_as_before(following, caplog):
    server, tokenizers, follower, _ = following
    assert not await follower.ask()
    assert (await tokenizers.get(R8_3)).name == R8_3
    assert (server.trusted.sequence, audited(caplog)) == (0, [])
