# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Keys that come and go in the registry's list, as a running gateway takes them."""

import pytest

from dragoman_models import key_following
from dragoman_models.signing import SigningKey
from dragoman_models.testing import foreign_list, rotated_lists

NEW, STRANGER = SigningKey.generate(), SigningKey.generate()
FORGED = foreign_list(STRANGER)


def audited(caplog):
    return {(line.message, line.object) for line in caplog.records if line.name == "dragoman_gateway.audit"}


@pytest.fixture
async def followed(platform, running_gateway, tmp_path, monkeypatch):
    """A gateway that follows the list of two keys, and the lists."""
    monkeypatch.setattr(key_following, "MIN_PAUSE_S", 0.05)
    lists = rotated_lists(platform.registry.key, NEW)
    platform.registry.key_chain = lists[0]
    kept = tmp_path / "kept.json"
    # The shortest period, so that every test sees several questions.
    inner = platform.environment()
    inner |= {"DRAGOMAN_GATEWAY_KEY_LIST_FILE": str(kept), "DRAGOMAN_GATEWAY_KEY_LIST_PERIOD_S": "5"}
    monkeypatch.setattr(platform, "environment", lambda: inner)
    async with running_gateway.gateway_running(platform) as made:
        await made.eventually(lambda: kept.exists() and kept.read_bytes() == lists[0])
        yield made, lists, kept


async def answers(gateway, version):
    return (await gateway.classify("oil")).version == version


async def until_kept(gateway, fake_platform, kept, chain):
    gateway.platform.registry.key_chain = chain
    # A signature by a key that nobody knows makes the gateway ask at once.
    manifest = fake_platform.manifest_of(9, model="other")
    gateway.platform.registry.move(manifest, key=STRANGER, keep=False)
    await gateway.eventually(lambda: kept.read_bytes() == chain)


async def test_a_version_signed_by_a_new_key_answers_without_a_restart_once_the_list_has_it(followed, fake_platform):
    gateway, lists, kept = followed
    registry, manifest = gateway.platform.registry, fake_platform.manifest_of(2)
    registry.key_chain = lists[1]
    registry.publish(manifest, key=NEW)
    gateway.platform.worker.hold(manifest)
    # Event and version come before the gateway knows the key: meeting it makes the gateway ask.
    registry.move(manifest, key=NEW)
    await gateway.eventually(lambda: answers(gateway, 2))
    assert kept.read_bytes() == lists[1]


async def test_what_answers_by_a_revoked_key_goes_on_with_an_audit_record_and_is_not_taken_anew(
    followed, fake_platform, caplog
):
    gateway, lists, kept = followed
    registry = gateway.platform.registry
    await until_kept(gateway, fake_platform, kept, lists[1])
    await until_kept(gateway, fake_platform, kept, lists[2])
    alias = ("audit: object refused", "local/r8/aliases/prod")
    await gateway.eventually(lambda: alias in audited(caplog))
    assert await answers(gateway, 1)
    assert ("audit: object refused", "local/r8/versions/1") in audited(caplog)
    # An event by a key that counts is followed, whatever place the doubted one claimed.
    second = fake_platform.manifest_of(2)
    registry.publish(second, key=NEW)
    gateway.platform.worker.hold(second)
    registry.move(second, key=NEW)
    await gateway.eventually(lambda: answers(gateway, 2))
    # The way back to a version that only the revoked key signed is refused.
    registry.move(fake_platform.manifest_of(1), key=NEW)
    caplog.clear()
    await gateway.eventually(lambda: alias in audited(caplog))
    assert await answers(gateway, 2)


async def test_what_the_registry_has_signed_again_answers_on_quietly(followed, fake_platform, caplog):
    gateway, lists, kept = followed
    registry = gateway.platform.registry
    await until_kept(gateway, fake_platform, kept, lists[1])
    registry.publish(fake_platform.manifest_of(1), key=NEW)
    registry.sign_again(NEW)
    caplog.clear()
    num_watches = len(registry.seen)
    await until_kept(gateway, fake_platform, kept, lists[2])
    await gateway.eventually(lambda: len(registry.seen) > num_watches)
    assert await answers(gateway, 1)
    registry.publish(fake_platform.manifest_of(2), key=NEW)
    gateway.platform.worker.hold(fake_platform.manifest_of(2))
    registry.move(fake_platform.manifest_of(2), key=NEW)
    await gateway.eventually(lambda: answers(gateway, 2))
    assert {name for _, name in audited(caplog)} == {"local/other/aliases/prod"}


@pytest.mark.parametrize("what", ["older", "forged"])
async def test_an_older_or_forged_list_is_refused_and_audited(followed, fake_platform, caplog, what):
    gateway, lists, kept = followed
    await until_kept(gateway, fake_platform, kept, lists[1])
    gateway.platform.registry.key_chain = {"older": lists[0], "forged": FORGED}[what]
    gateway.platform.registry.move(fake_platform.manifest_of(9, model="other"), key=STRANGER, keep=False)
    await gateway.eventually(lambda: ("audit: object refused", "key list of the registry") in audited(caplog))
    assert kept.read_bytes() == lists[1]
    assert await answers(gateway, 1)
