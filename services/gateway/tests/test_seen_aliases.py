# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A watch that begins again goes on from what was seen, and a registry that shows less of it is noticed."""

import logging

import pytest

from dragoman_gateway.aliases import less_than_seen

LESS = "the registry shows less of an alias than was seen; what was seen holds"


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


def less(caplog):
    lines = [record for record in caplog.records if record.message == LESS]
    return [(line.tenant, line.model, line.alias, line.seen_sequence, line.shown_sequence) for line in lines]


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
        await gateway.eventually(lambda: less(caplog))
    assert less(caplog) == [("local", "r8", "prod", 2, shown)]
    assert await answers(gateway, 2)
    # It is still what the next watch is told.
    assert (await again())["local", "r8", "prod"] == 2


async def test_a_registry_that_sends_an_older_event_again_is_not_followed(gateway, again, caplog):
    gateway.platform.publish(2)
    await gateway.eventually(lambda: answers(gateway, 2))
    first = gateway.platform.registry.history["local", "r8", "prod"][0]
    with caplog.at_level(logging.ERROR):
        gateway.platform.registry.feed.push(gateway.platform.registry._message(*first))
        await gateway.eventually(lambda: [record for record in caplog.records if "refused" in record.message])
    (line,) = caplog.records
    assert (line.tenant, line.model, line.alias) == ("local", "r8", "prod")
    assert await answers(gateway, 2)


def test_only_less_is_less():
    seen = {("t", "m", "a"): 3, ("t", "m", "b"): 3, ("t", "m", "c"): 3, ("t", "m", "d"): 3}
    shown = {("t", "m", "a"): 3, ("t", "m", "b"): 4, ("t", "m", "c"): 2, ("u", "m", "d"): 3}
    assert less_than_seen(seen, shown) == [(("t", "m", "c"), 3, 2), (("t", "m", "d"), 3, 0)]
