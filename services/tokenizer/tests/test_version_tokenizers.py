# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a name to a tokenizer: what is believed, what is shared, what is refused."""

import asyncio

import pytest

from dragoman_common.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
)
from dragoman_text import train_huggingface
from dragoman_tokenizer.version import UnusableVersionError, VersionName, VersionNotFoundError
from dragoman_tokenizer.version_tokenizers import VersionTokenizers

R8_3 = VersionName("local", "r8", 3)


async def test_version_is_fetched_once_for_any_number_of_calls(tokenizers, source):
    served = await asyncio.gather(*(tokenizers.get(R8_3) for _ in range(50)))
    assert len({id(each.tokenizer) for each in served}) == 1
    assert (source.num_manifests, source.num_reads) == (1, 2)
    assert served[0].spec.max_tokens == 8


async def test_versions_with_the_same_file_share_one_tokenizer(tokenizers, source, files):
    source.publish("local", "r8", 4, files(labels=["x", "y"]))
    first, second = await tokenizers.get(R8_3), await tokenizers.get(VersionName("local", "r8", 4))
    assert first.tokenizer is second.tokenizer
    assert source.num_reads == 3


async def test_tenants_share_nothing(tokenizers, source, files):
    source.publish("acme", "r8", 3, files())
    first, second = await tokenizers.get(R8_3), await tokenizers.get(VersionName("acme", "r8", 3))
    assert first.tokenizer is not second.tokenizer


async def test_tenant_cannot_reach_the_version_of_another(tokenizers):
    await tokenizers.get(R8_3)
    with pytest.raises(VersionNotFoundError, match="there is no model r8 version 3"):
        await tokenizers.get(VersionName("acme", "r8", 3))


@pytest.mark.parametrize("path", ["model.json", "tokenizer.json"])
@pytest.mark.parametrize("change", ["flip", "append", "cut", "empty"])
async def test_changed_bytes_are_data_loss(tokenizers, source, files, path, change):
    data = files()[path]
    changed = {
        "flip": bytes([data[0] ^ 1]) + data[1:],
        "append": data + b" ",
        "cut": data[:-1],
        "empty": b"",
    }[change]
    source.tamper("local", "r8", 3, path, changed)
    with pytest.raises(DataLossError, match=path):
        await tokenizers.get(R8_3)


async def test_every_flipped_bit_of_the_tokenizer_file_is_noticed(tokenizers, source, files):
    data = files()["tokenizer.json"]
    for position in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[position] ^= 1 << (position % 8)
        source.tamper("local", "r8", 3, "tokenizer.json", bytes(flipped))
        with pytest.raises(DataLossError):
            await tokenizers.get(R8_3)
    source.tamper("local", "r8", 3, "tokenizer.json", data)
    assert (await tokenizers.get(R8_3)).tokenizer.vocabulary_size > 2


async def test_record_of_an_untrusted_key_is_data_loss(tokenizers, source):
    source.forge("local", "r8", 3)
    with pytest.raises(DataLossError, match="signed"):
        await tokenizers.get(R8_3)


async def test_outage_is_passed_on_and_the_next_call_succeeds(tokenizers, source):
    source.failures.append(UnavailableError("the registry is away"))
    with pytest.raises(UnavailableError):
        await tokenizers.get(R8_3)
    assert (await tokenizers.get(R8_3)).name == R8_3


async def test_loaded_version_outlives_an_outage(tokenizers, source):
    await tokenizers.get(R8_3)
    source.failures.extend([UnavailableError("the registry is away")] * 9)
    assert (await tokenizers.get(R8_3)).name == R8_3


async def test_other_root_digest_than_asked_for_is_refused(tokenizers):
    spec = (await tokenizers.get(R8_3)).spec
    assert (await tokenizers.get(VersionName("local", "r8", 3, spec.root_sha256))).spec == spec
    with pytest.raises(FailedPreconditionError, match="root digest"):
        await tokenizers.get(VersionName("local", "r8", 3, "0" * 64))


async def test_file_above_the_cache_is_refused_before_it_is_read(source, executor):
    small = VersionTokenizers(source, executor, max_cached_bytes=100, max_cached_versions=10, load_timeout_s=10)
    with pytest.raises(UnusableVersionError, match="up to 100 bytes"):
        await small.get(R8_3)
    assert source.num_reads == 1


async def test_huggingface_file_is_served(tokenizers, source, files):
    data = train_huggingface("wordpiece", ["the ship carried grain"], vocabulary_size=60).to_json()
    changes = files(tokenizer={"backend": "huggingface", "file": "tokenizer.json"}) | {"tokenizer.json": data}
    source.publish("local", "hf", 1, changes)
    served = await tokenizers.get(VersionName("local", "hf", 1))
    assert served.tokenizer.decode(served.tokenizer.encode(["grain ship"], 8)[0].ids) == "grain ship"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"auto_map": {}}, "auto_map"),
        ({"tokenizer": {"backend": "pickle", "file": "tokenizer.json"}}, "backend"),
        ({"tokenizer": {"backend": "huggingface", "file": "tokenizer.json"}}, "unknown keys"),
        ({"tokenizer": {"backend": "basic_english", "file": "../../etc/passwd"}}, "file"),
    ],
)
async def test_signed_version_that_does_not_parse_is_unusable(tokenizers, source, files, changes, text):
    source.publish("local", "bad", 1, files(**changes))
    with pytest.raises(UnusableVersionError, match=text):
        await tokenizers.get(VersionName("local", "bad", 1))


@pytest.mark.parametrize("path", ["model.json", "tokenizer.json"])
async def test_version_without_a_needed_file_is_unusable(tokenizers, source, files, path):
    source.publish("local", "bad", 1, {name: data for name, data in files().items() if name != path} | {"a": b"a"})
    with pytest.raises(UnusableVersionError, match=f"has no file {path}"):
        await tokenizers.get(VersionName("local", "bad", 1))


@pytest.mark.parametrize("model", ["", "../r8", "a/b", "r8\n", "-r8", "a" * 129, "r8."])
def test_name_that_could_be_a_path_is_refused(model):
    with pytest.raises(InvalidArgumentError, match=r"version\.model"):
        VersionName("local", model, 1)


@pytest.mark.parametrize(("number", "root"), [(0, ""), (-1, ""), (1, "abc"), (1, "A" * 64)])
def test_number_and_digest_out_of_range_are_refused(number, root):
    with pytest.raises(InvalidArgumentError, match="version"):
        VersionName("local", "r8", number, root)
