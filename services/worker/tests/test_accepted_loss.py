# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A worker that saw an event which the registry lost goes on where an operator's signed event accepts the loss."""

import asyncio

import pytest

from dragoman_models.gate_basis import LostEvent
from dragoman_models.signing import SigningKey

PROD = ("local", "r8", "prod")


def audited(caplog) -> list[tuple[str, str]]:
    return [(record.message, record.object) for record in caplog.records if record.name == "dragoman_worker.audit"]


async def until_audited(caplog) -> None:
    async with asyncio.timeout(10):
        while not audited(caplog):  # noqa: ASYNC110 - a log record sets no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def seen(world, follow, linear_package):
    """A worker that has seen event 5 of prod, and the versions 1 to 3; event 5 points to the second."""
    versions = [world.publish(number, linear_package(number)) for number in (1, 2, 3)]
    for index in (0, 1, 0, 2, 1):
        world.point(versions[index])
    follower = await follow()
    await follower.until_states({2: "READY"})
    return versions, follower


@pytest.mark.parametrize("num_lost", [1, 2])
async def test_an_accepted_loss_is_followed_while_the_watch_is_open(world, seen, caplog, num_lost):
    versions, follower = seen
    world.accept_loss(versions[2], num_lost)
    await follower.until_states({3: "READY"})
    world.point(versions[0])
    await follower.until_states({1: "READY"})
    assert audited(caplog) == []


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("num_moves", [0, 1, 2, 3])
@pytest.mark.parametrize("num_lost", [1, 2])
async def test_an_accepted_loss_is_followed_also_by_a_worker_that_was_away(
    world, follow, seen, caplog, num_lost, num_moves, is_restarted
):
    versions, follower = seen
    watchers, world.registry._watchers = world.registry._watchers, set()
    world.accept_loss(versions[2], num_lost)
    for move in range(num_moves):
        world.point(versions[(0, 2)[move % 2]])
    expected = {(3, 1)[num_moves % 2]: "READY"}
    if is_restarted:
        follower = await follow()
    else:
        for queue in watchers:
            queue.put_nowait(None)
    await follower.until_states(expected)
    # What the node remembers now is the new chain's event, also where the lost one had a higher number.
    again = await follow()
    await again.until_states(expected)
    assert world.registry.seen[-1] == {PROD: 5 - num_lost + 1 + num_moves}
    assert audited(caplog) == []


NOT_ACCEPTED = {
    "no acceptance": {"accepted_loss": None},
    "of another event": {"accepted_loss": LostEvent(sequence=5, sha256="0" * 64)},
    "of another place": {"accepted_loss": LostEvent(sequence=6, sha256="0" * 64)},
    "forged": {"key": SigningKey.generate()},
}


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("how", NOT_ACCEPTED)
async def test_an_event_that_claims_a_lower_place_without_acceptance_is_refused_and_audited(
    world, seen, caplog, how, is_open
):
    versions, follower = seen
    watchers = world.registry._watchers
    if not is_open:
        world.registry._watchers = set()
    # The display fields lie in every case: they say that the loss was accepted.
    world.accept_loss(versions[2], 2, **NOT_ACCEPTED[how])
    if not is_open:
        for queue in watchers:
            queue.put_nowait(None)
    await until_audited(caplog)
    assert audited(caplog)[0] == (f"audit: object {'refused' if is_open else 'lost'}", "local/r8/aliases/prod")
    assert follower.states() in ({2: "READY"}, {2: "READY", 3: "FAILED"})
