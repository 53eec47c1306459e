# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The store is not believed: what was changed there is DATA_LOSS by name, and nothing else stops being served."""

import dataclasses
import json

import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_models.record_fields import canonical_json
from dragoman_models.signing import SigningKey, sign_alias_record
from dragoman_models.verify import VerifyingKeys, verify_alias_event

VERSION = "tenants/acme/models/r8/versions/1"
EVENT = "tenants/acme/models/r8/aliases/prod/"


@pytest.fixture
async def served(client, make):
    """r8 with two versions, prod moved twice; and another model that must stay served."""
    for seed in range(2):
        await client.publish(make.good(seed), publish_id=f"p{seed}")
        await client.move(seed + 1)
    await client.publish(make.good(), model="other")
    await client.move(1, model="other")
    return client


async def others_are_served(client) -> None:
    assert (await client.get(2)).number == 2
    assert (await client.get(1, model="other")).number == 1
    assert await client.download(1, "weights.safetensors", model="other")
    assert (await client.alias(model="other")).sequence == 1


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


async def test_nothing_is_read_from_the_store_without_a_bound(registry, served, make, monkeypatch):
    read, lengths = registry.store.read, []

    async def noted(key, *, offset=0, length=None):
        lengths.append((key, length))
        return await read(key, offset=offset, length=length)

    monkeypatch.setattr(registry.store, "read", noted)
    await served.publish(make.good(5), publish_id="p5")
    await served.move(3)
    await served.alias()
    await served.download(3, "model.json")
    assert {key.split("/")[4] for key, _ in lengths if "/models/" in key} >= {"versions", "aliases", "by-digest"}
    assert [key for key, length in lengths if length is None] == []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
async def test_a_flipped_bit_in_a_version_record_is_data_loss(registry, served, refused, share):
    data = registry.store.objects[VERSION]
    registry.store.objects[VERSION] = flip(data, int(share * len(data)))
    for call in (served.get(1), served.download(1, "model.json"), served.move(1)):
        async with refused("DATA_LOSS", "acme/r8/versions/1"):
            await call
    await others_are_served(served)
    registry.store.objects[VERSION] = data
    assert (await served.get(1)).number == 1


async def test_a_flipped_bit_in_a_blob_is_data_loss_and_the_last_piece_is_not_sent(registry, served, make, refused):
    await served.publish(make.good(9) | {"vectors.bin": bytes(2_500_000)}, publish_id="p9")
    digest = next(f.sha256 for f in (await served.get(3)).files if f.path == "vectors.bin")
    key = f"tenants/acme/blobs/sha256/{digest}"
    for damaged in (flip(bytes(2_500_000), 0), bytes(2_499_999), bytes(2_500_001), None):
        if damaged is None:
            del registry.store.objects[key]
        else:
            registry.store.objects[key] = damaged
        received = 0
        async with refused("DATA_LOSS", "acme/r8/versions/3/vectors.bin"):
            request = pb.DownloadFileRequest(model="r8", number=3, path="vectors.bin")
            async for reply in served.stub.DownloadFile(request):
                received += len(reply.data)
        assert received < 2_500_000
    await others_are_served(served)


@pytest.mark.parametrize("sequence", [1, 2])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
async def test_a_flipped_bit_in_an_alias_event_is_data_loss(registry, served, refused, sequence, share):
    key = f"{EVENT}{sequence}"
    registry.store.objects[key] = flip(registry.store.objects[key], int(share * len(registry.store.objects[key])))
    for call in (served.alias(), served.move(1)):
        async with refused("DATA_LOSS", "acme/r8/aliases/prod"):
            await call
    await others_are_served(served)


async def test_a_restart_over_a_damaged_store_serves_the_rest(registry, served, start, refused):
    registry.store.objects[VERSION] = flip(registry.store.objects[VERSION], 100)
    registry.store.objects[f"{EVENT}1"] = b"{}"
    async with start(registry.store) as again, again.client() as client:
        async with refused("DATA_LOSS", "acme/r8/versions/1"):
            await client.get(1)
        async with refused("DATA_LOSS", "acme/r8/aliases/prod"):
            await client.alias()
        assert await client.numbers() == [2]
        await others_are_served(client)


def forged(registry, source: int, key: SigningKey | None = None, **changes) -> bytes:
    """An event of the real chain, changed and signed again."""
    trusted = VerifyingKeys([registry.key.public_key])
    record = verify_alias_event(
        registry.store.objects[f"{EVENT}{source}"], trusted, tenant="acme", model="r8", alias="prod"
    )
    return sign_alias_record(dataclasses.replace(record, **changes), key or registry.key)


@pytest.mark.parametrize(
    "changes",
    [
        {"alias": "canary"},
        {"tenant": "other"},
        {"model": "other"},
        {"sequence": 4},
        {"previous_sha256": "0" * 64},
    ],
)
async def test_a_validly_signed_event_of_another_place_is_data_loss(registry, served, refused, changes):
    registry.store.objects[f"{EVENT}3"] = forged(registry, 2, **({"sequence": 3} | changes))
    async with refused("DATA_LOSS", "acme/r8/aliases/prod"):
        await served.alias()
    await others_are_served(served)


async def test_an_event_signed_by_another_key_is_data_loss(registry, served, refused):
    registry.store.objects[f"{EVENT}2"] = forged(registry, 2, key=SigningKey.generate())
    async with refused("DATA_LOSS", "trusted"):
        await served.alias()


async def test_a_replayed_older_event_is_data_loss(registry, served, refused):
    registry.store.objects[f"{EVENT}3"] = registry.store.objects[f"{EVENT}1"]
    async with refused("DATA_LOSS", "acme/r8/aliases/prod"):
        await served.alias()


async def test_removing_the_newest_event_is_data_loss_not_a_rollback(registry, served, refused):
    del registry.store.objects[f"{EVENT}2"]
    async with refused("DATA_LOSS", "event 2 is gone"):
        await served.alias()


async def test_a_gap_in_the_chain_is_data_loss(registry, served, start, refused):
    del registry.store.objects[f"{EVENT}1"]
    async with start(registry.store) as again, again.client() as client:
        async with refused("DATA_LOSS", "prod/1"):
            await client.alias()


async def test_a_version_that_is_gone_is_data_loss_not_unknown(registry, served, refused):
    del registry.store.objects[VERSION]
    async with refused("DATA_LOSS", "is gone"):
        await served.get(1)


@pytest.mark.parametrize(("lost", "target"), [(1, 1), (2, 3)])
async def test_a_move_to_or_from_a_version_that_is_gone_is_data_loss(registry, served, make, refused, lost, target):
    await served.publish(make.good(2), publish_id="p2")
    del registry.store.objects[f"tenants/acme/models/r8/versions/{lost}"]
    async with refused("DATA_LOSS", f"versions/{lost}: is gone"):
        await served.move(target)
    assert (await served.alias()).stable_version == 2


@pytest.mark.parametrize("source", ["tenants/acme/models/r8/versions/2", "tenants/acme/models/other/versions/1"])
async def test_the_valid_record_of_another_version_is_data_loss(registry, served, refused, source):
    registry.store.objects[VERSION] = registry.store.objects[source]
    async with refused("DATA_LOSS", "holds the signed manifest of"):
        await served.get(1)


async def test_another_tenants_valid_version_is_data_loss(registry, served, make, start, refused):
    async with registry.client(tenant="other") as other:
        await other.publish(make.good(5))
    registry.store.objects[VERSION] = registry.store.objects["tenants/other/models/r8/versions/1"]
    async with refused("DATA_LOSS", "other/r8/versions/1"):
        await served.get(1)


async def test_the_model_signature_of_another_version_is_data_loss(registry, served, refused):
    mine, theirs = (json.loads(registry.store.objects[f"{VERSION[:-1]}{number}"]) for number in (1, 2))
    registry.store.objects[VERSION] = canonical_json(mine | {"model_signature": theirs["model_signature"]})
    async with refused("DATA_LOSS", "model signature"):
        await served.get(1)


async def test_a_version_that_somebody_planted_is_left_out_of_the_lists(registry, served, start, refused):
    registry.store.objects["tenants/acme/models/r8/versions/7"] = registry.store.objects[VERSION]
    registry.store.objects["tenants/acme/models/r8/versions/x"] = b"{}"
    async with start(registry.store) as again, again.client() as client:
        assert await client.numbers() == [2, 1]
        async with refused("DATA_LOSS", "versions/7"):
            await client.get(7)


async def test_a_file_that_the_version_does_not_list_is_not_found(served, refused):
    for path in ("added.bin", "../x", "", "model.json/"):
        async with refused("NOT_FOUND"):
            await served.download(1, path)


async def test_an_offset_outside_of_the_file_is_refused(served, refused):
    for offset in (-1, 10**9):
        async with refused("INVALID_ARGUMENT", "offset_bytes"):
            await served.download(1, "model.json", offset=offset)


async def test_an_alias_that_points_to_replaced_content_is_data_loss(registry, served, make, start, refused):
    # The same key signed both, so only the digest in the event tells them apart.
    async with start() as elsewhere, elsewhere.client() as client:
        for seed in (7, 8):
            await client.publish(make.good(seed), publish_id=f"p{seed}")
        registry.store.objects[f"{VERSION[:-1]}2"] = elsewhere.store.objects[f"{VERSION[:-1]}2"]
    async with refused("DATA_LOSS", "prod points to"):
        await served.stub.GetVersion(pb.GetVersionRequest(model="r8", alias="prod"))


async def test_damage_is_logged_by_name(registry, served, refused, caplog):
    registry.store.objects[VERSION] = b"{}"
    async with refused("DATA_LOSS"):
        await served.get(1)
    assert [r.reason for r in caplog.records if r.message == "a record does not verify"] == [
        "acme/r8/versions/1: the key 'format' is missing"
    ]


async def test_what_is_no_event_among_the_events_is_data_loss(registry, served, refused):
    registry.store.objects[f"{EVENT}x"] = b"{}"
    async with refused("DATA_LOSS", "no event was added"):
        await served.move(1)
    async with refused("DATA_LOSS", "no event was added"):
        await served.alias()
