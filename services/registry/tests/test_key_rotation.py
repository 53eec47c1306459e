# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A key is rotated and revoked under a living store: what was signed again serves, what a stolen key signs does not."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.errors import InvalidArgumentError
from dragoman_models.key_list import KEY_CHAIN_FORMAT, KEY_LIST_PAYLOAD_TYPE, KeyList, ListedKey
from dragoman_models.record_fields import canonical_json
from dragoman_models.signing import SigningKey, public_pem, sign_envelope
from dragoman_models.verify import VerifyingKeys
from dragoman_registry.__main__ import trusted_keys
from dragoman_registry.settings import RegistrySettings
from dragoman_registry.signed_object import named_signer
from dragoman_text.strict_json import parse_object

NEW = SigningKey.generate()
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def listed(key: SigningKey, revoked_time: datetime | None = None) -> ListedKey:
    return ListedKey(pem=public_pem(key.public_key).decode(), revoked_time=revoked_time)


def keys(old: SigningKey, *, revoked: datetime | None) -> VerifyingKeys:
    return VerifyingKeys.of_list(KeyList(sequence=1, keys=(listed(old, revoked), listed(NEW)), issue_time=LONG_AGO))


@pytest.fixture
async def signed(registry, client, make):
    """One of everything, all signed by the old key: versions, moves, evidence, a policy, a tombstone."""
    for seed in range(3):
        await client.publish(make.good(seed), publish_id=f"p{seed}")
        await client.move(seed + 1)
    await client.say(3, "measurement", make.document("measurement"))
    await client.rule(pb.GateRule(alias="other", quality=pb.QUALITY_RULE_NONE))
    await client.withdraw(1)
    return registry


@pytest.fixture
def reopened(start, signed):
    """Another registry on the same store, with the new key and what it trusts."""

    @asynccontextmanager
    async def open_(trusted: VerifyingKeys, *, resign: bool = False):
        async with start(signed.store, key=NEW, trusted=trusted) as registry:
            if resign:
                registry.num_added = await registry.parts.resigner.run()
            async with registry.client() as client:
                yield registry, client

    return open_


async def everything(client) -> tuple[object, ...]:
    events = (await client.stub.ListAliasEvents(pb.ListAliasEventsRequest(model="r8", alias="prod"))).events
    policy = (await client.stub.GetGatePolicy(pb.GetGatePolicyRequest(model="r8"))).policy
    return (
        [version.root_sha256 for version in [await client.get(number) for number in await client.numbers()]],
        [(event.sequence, event.stable_version, event.previous_sha256) for event in events],
        [item.digest for item in await client.evidence(3)],
        policy.sequence,
        (await client.get(1)).tombstone.reason,
    )


async def test_while_both_keys_count_the_old_records_serve_and_new_ones_are_signed_by_the_new(
    registry, client, signed, reopened, make
):
    before = await everything(client)
    async with reopened(keys(registry.key, revoked=None)) as (_, later):
        assert await everything(later) == before
        version = (await later.publish(make.good(9), publish_id="p9")).version
        assert named_signer(version.manifest.envelope) == NEW.key_id
        assert (await later.move(version.number)).sequence == 4


async def test_a_revocation_from_now_on_keeps_what_was_signed_before(registry, client, signed, reopened):
    before = await everything(client)
    async with reopened(keys(registry.key, revoked=datetime.now(UTC) + timedelta(seconds=5))) as (_, later):
        assert await everything(later) == before


async def test_a_whole_revocation_refuses_everything_that_was_not_signed_again(registry, signed, reopened, refused):
    async with reopened(keys(registry.key, revoked=LONG_AGO)) as (_, later):
        assert await later.numbers() == []
        for call in (later.get(2), later.alias(), later.move(2), later.download(3, "model.json")):
            async with refused("DATA_LOSS", "revoked"):
                await call


async def test_what_was_signed_again_serves_after_a_whole_revocation(registry, client, signed, reopened, refused, make):
    before = await everything(client)
    async with reopened(keys(registry.key, revoked=None), resign=True) as (again, _):
        # 3 versions, 3 moves, 1 measurement, 1 policy, 1 tombstone, and the heads of the alias and of the policy.
        assert again.num_added == 11
    async with reopened(keys(registry.key, revoked=None), resign=True) as (again, _):
        assert again.num_added == 0
    async with reopened(keys(registry.key, revoked=LONG_AGO)) as (_, later):
        assert await everything(later) == before
        assert named_signer((await later.get(2)).manifest.envelope) == NEW.key_id
        assert await later.download(3, "weights.safetensors") == make.good(2)["weights.safetensors"]
        assert (await later.move(2)).sequence == 4
        async with refused("FAILED_PRECONDITION", "withdrawn"):
            await later.move(1)


async def test_what_the_stolen_key_signs_after_its_revocation_is_refused(registry, client, signed, reopened, refused):
    async with reopened(keys(registry.key, revoked=None), resign=True):
        pass
    # The thief: the old registry's key, and write access to the store.
    await client.move(2)
    async with reopened(keys(registry.key, revoked=LONG_AGO)) as (_, later):
        async with refused("DATA_LOSS", "revoked"):
            await later.alias()


async def test_a_copy_at_another_place_is_no_signature_for_it(registry, signed, reopened, refused):
    async with reopened(keys(registry.key, revoked=None), resign=True):
        pass
    copies = f"tenants/acme/resigned/{NEW.key_id}/models/r8"
    objects = signed.store.objects
    objects[f"{copies}/versions/2"] = objects[f"{copies}/versions/3"]
    objects[f"{copies}/aliases/prod/3"] = objects[f"{copies}/aliases/prod/1"]
    async with reopened(keys(registry.key, revoked=LONG_AGO)) as (_, later):
        for call in (later.get(2), later.alias()):
            async with refused("DATA_LOSS", "holds the signed"):
                await call
        assert (await later.get(3)).number == 3


async def test_what_does_not_verify_is_not_signed_again(registry, signed, reopened):
    key = "tenants/acme/models/r8/versions/2"
    signed.store.objects[key] = signed.store.objects[key][:-20] + b"x" + signed.store.objects[key][-19:]
    async with reopened(keys(registry.key, revoked=None), resign=True) as (again, _):
        assert again.num_added == 10
        assert f"tenants/acme/resigned/{NEW.key_id}/models/r8/versions/2" not in signed.store.objects


def test_a_registry_does_not_start_with_a_key_that_is_revoked(tmp_path):
    old = SigningKey.generate()
    current = KeyList(sequence=1, keys=(listed(old, LONG_AGO), listed(NEW)), issue_time=LONG_AGO)
    envelope = sign_envelope(KEY_LIST_PAYLOAD_TYPE, current.to_payload(), NEW)
    chain = {"format": KEY_CHAIN_FORMAT, "lists": [parse_object(envelope, what="x", max_bytes=1 << 20)]}
    path = tmp_path / "keys.json"
    path.write_bytes(canonical_json(chain))
    config = RegistrySettings.__new__(RegistrySettings)
    object.__setattr__(config, "verifying_keys_file", path)
    assert trusted_keys(config, NEW).counting_ids == (NEW.key_id,)
    with pytest.raises(InvalidArgumentError, match="revoked the signing key"):
        trusted_keys(config, old)
