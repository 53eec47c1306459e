# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A watch that begins again goes on from what was seen, and a registry that shows less of it is noticed."""

import logging

import pytest

from dragoman_models.gate_basis import LostEvent
from dragoman_models.signing import SigningKey


@pytest.fixture
def again(gateway, fake_platform):
    """Break the watch, and wait for the next one."""

    async def cut():
        registry = gateway.platform.registry
        num_watches = len(registry.seen)
        registry.feed.cut(fake_platform.unavailable())
        await gateway.eventually(lambda: len(registry.seen) > num_watches)
        return registry.seen[-1]

    return cut


async def answers(gateway, version):
    return (await gateway.classify("oil")).version == version


def audited(caplog):
    return [(line.message, line.object) for line in caplog.records if line.name == "dragoman_gateway.audit"]


async def test_a_watch_that_begins_again_names_the_newest_verified_event_of_each_alias(gateway, again):
    gateway.platform.publish(2)
    gateway.platform.publish(1, model="bbc")
    await gateway.eventually(lambda: answers(gateway, 2))
    assert gateway.platform.registry.seen == [{}]
    assert await again() == {("local", "r8", "prod"): 2, ("local", "bbc", "prod"): 1}


async def test_a_forged_event_is_not_named_as_seen(gateway, again, fake_platform):
    manifest = fake_platform.manifest_of(2)
    gateway.platform.registry.publish(manifest)
    gateway.platform.registry.move(manifest, key=fake_platform.SigningKey.generate(), keep=False)
    assert await again() == {("local", "r8", "prod"): 1}


async def test_what_was_missed_while_the_watch_was_broken_arrives_in_order(gateway, again):
    registry = gateway.platform.registry
    pushed, registry.feed.push = registry.feed.push, lambda message: None
    for number in (2, 3, 4):
        gateway.platform.publish(number)
    registry.feed.push = pushed
    await again()
    await gateway.eventually(lambda: answers(gateway, 4))


@pytest.mark.parametrize(("num_lost", "shown"), [(1, 1), (2, 0)])
async def test_a_registry_that_shows_less_than_was_seen_is_named_and_not_followed(
    gateway, again, caplog, num_lost, shown
):
    gateway.platform.publish(2)
    await gateway.eventually(lambda: answers(gateway, 2))
    for _ in range(num_lost):
        gateway.platform.registry.lose()
    with caplog.at_level(logging.ERROR):
        await again()
        await gateway.eventually(lambda: audited(caplog))
    assert audited(caplog) == [("audit: object lost", "local/r8/aliases/prod")]
    assert f"event 2 was seen and verified, the registry's newest is {shown};" in caplog.records[-1].reason
    assert await answers(gateway, 2)
    # It is still what the next watch is told.
    assert (await again())["local", "r8", "prod"] == 2


async def test_a_registry_that_sends_an_older_event_again_is_not_followed(gateway, again, caplog):
    gateway.platform.publish(2)
    await gateway.eventually(lambda: answers(gateway, 2))
    first = gateway.platform.registry.history["local", "r8", "prod"][0]
    with caplog.at_level(logging.ERROR):
        gateway.platform.registry.feed.push(gateway.platform.registry._message(*first))
        await gateway.eventually(lambda: audited(caplog))
    assert audited(caplog) == [("audit: object refused", "local/r8/aliases/prod")]
    assert await answers(gateway, 2)


@pytest.fixture
async def seen(gateway):
    """A gateway that has seen event 5 of prod, which points to version 2; all three versions are ready."""
    registry = gateway.platform.registry
    versions = {number: gateway.platform.publish(number) for number in (2, 3, 1)}
    registry.move(versions[2])
    assert registry.events["local", "r8", "prod"][0].sequence == 5
    await gateway.eventually(lambda: answers(gateway, 2))
    return versions


@pytest.mark.parametrize("num_lost", [1, 2])
async def test_an_accepted_loss_is_followed_while_the_watch_is_open(gateway, seen, caplog, num_lost):
    gateway.platform.registry.accept_loss(seen[3], num_lost)
    await gateway.eventually(lambda: answers(gateway, 3))
    gateway.platform.registry.move(seen[1])
    await gateway.eventually(lambda: answers(gateway, 1))
    assert audited(caplog) == []


@pytest.mark.parametrize("num_moves", [0, 1, 2, 3])
@pytest.mark.parametrize("num_lost", [1, 2])
async def test_an_accepted_loss_is_followed_also_by_a_gateway_that_was_away(
    gateway, again, seen, caplog, num_lost, num_moves
):
    registry = gateway.platform.registry
    pushed, registry.feed.push = registry.feed.push, lambda message: None
    registry.accept_loss(seen[3], num_lost)
    for move in range(num_moves):
        registry.move(seen[(1, 3)[move % 2]])
    registry.feed.push = pushed
    await again()
    await gateway.eventually(lambda: answers(gateway, (3, 1)[num_moves % 2]))
    assert (await again())["local", "r8", "prod"] == 6 - num_lost + num_moves
    assert audited(caplog) == []


NOT_ACCEPTED = {
    "no acceptance": {"accepted_loss": None},
    "of another event": {"accepted_loss": LostEvent(sequence=5, sha256="0" * 64)},
    "forged": {"key": SigningKey.generate()},
}


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("how", NOT_ACCEPTED)
async def test_an_event_that_claims_a_lower_place_without_acceptance_is_refused_and_audited(
    gateway, again, seen, caplog, how, is_open
):
    registry = gateway.platform.registry
    pushed = registry.feed.push
    if not is_open:
        registry.feed.push = lambda message: None
    registry.accept_loss(seen[3], 2, **NOT_ACCEPTED[how])
    registry.feed.push = pushed
    if not is_open:
        await again()
    await gateway.eventually(lambda: audited(caplog))
    kind = "refused" if is_open else "lost"
    assert audited(caplog) == [(f"audit: object {kind}", "local/r8/aliases/prod")]
    assert await answers(gateway, 2)
