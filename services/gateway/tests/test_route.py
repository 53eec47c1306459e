# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Aliases, workers, and the choice between two."""

import asyncio
import random
from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman_common.errors import DataLossError, InvalidArgumentError, UnavailableError
from dragoman_gateway.selector import Selector, parse_selector, parse_version
from dragoman_gateway.version import ModelNotFoundError
from dragoman_gateway.workers import WorkerReport, WorkerTable

PROD = parse_selector("r8")


async def resolved(world, selector=PROD):
    return (await world.router.resolve("local", selector)).version.key.number


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("r8", None, Selector(model="r8", alias="prod", version=None)),
        ("r8@canary", None, Selector(model="r8", alias="canary", version=None)),
        ("r8@canary", 3, Selector(model="r8", alias="canary", version=3)),
    ],
)
def test_selectors(name, version, expected):
    assert parse_selector(name, version) == expected


@pytest.mark.parametrize(
    "name", ["", "@", "r8@", "R8", "../r8", "r8/x", "a..b", "r8@a@b", "-r8", "r" * 64, "r8\n", "ré"]
)
def test_other_names_are_refused(name):
    with pytest.raises(InvalidArgumentError):
        parse_selector(name)


@given(st.text(max_size=12))
def test_a_version_is_a_positive_decimal_or_nothing(text):
    try:
        number = parse_version(text)
    except InvalidArgumentError:
        return
    assert number is None if text == "" else str(number) == text and number > 0


async def test_an_alias_follows_its_events(world, make):
    assert await resolved(world) == 1
    world.publish(make.key(2), sequence=2)
    assert await resolved(world) == 2


async def test_a_number_wins_over_the_alias(world, make):
    world.publish(make.key(2), sequence=2)
    assert await resolved(world, parse_selector("r8@prod", 1)) == 1


async def test_an_unknown_alias_is_not_found_once_all_are_read(world):
    with pytest.raises(ModelNotFoundError):
        await resolved(world, parse_selector("r8@canary"))
    world.router.is_complete = False
    with pytest.raises(UnavailableError):
        await resolved(world, parse_selector("r8@canary"))


@pytest.mark.parametrize(
    ("sequence", "previous"),
    [(1, ""), (2, "payload-of-another-chain"), (2, "")],
)
async def test_an_event_that_does_not_continue_the_chain_is_refused_and_the_old_kept(world, make, sequence, previous):
    forged = make.target(make.key(9), sequence=sequence, payload="forged", previous=previous)
    with pytest.raises(DataLossError):
        world.router.apply(forged)
    assert await resolved(world) == 1


async def test_an_older_event_does_not_come_back(world, make):
    world.publish(make.key(2), sequence=2)
    with pytest.raises(DataLossError):
        world.router.apply(make.target(make.key(1), sequence=1, payload="other"))
    world.router.apply(make.target(make.key(2), sequence=2))
    assert await resolved(world) == 2


async def test_events_missed_while_the_stream_was_down_are_skipped(world, make):
    world.catalogue.add(make.served(make.key(5)))
    world.report("worker-a", {make.key(5): "READY"})
    world.router.apply(make.target(make.key(5), sequence=5, previous="payload-4"))
    assert await resolved(world) == 5


async def test_the_old_version_answers_until_the_new_one_is_ready(world, make):
    world.publish(make.key(2), sequence=2, ready_at=())
    world.report("worker-a", {make.key(1): "READY", make.key(2): "LOADING"})
    assert await resolved(world) == 1
    world.report("worker-a", {make.key(1): "READY", make.key(2): "READY"})
    assert await resolved(world) == 2


async def test_a_version_that_no_worker_accepts_never_takes_the_traffic(world, make):
    world.publish(make.key(2), sequence=2, ready_at=())
    world.report("worker-a", {make.key(1): "READY", make.key(2): "FAILED"})
    assert await resolved(world) == 1
    # The old version's process is started again meanwhile: it is still the one that answers.
    world.report("worker-a", {make.key(1): "LOADING", make.key(2): "FAILED"})
    assert await resolved(world) == 1
    world.publish(make.key(3), sequence=3, ready_at=())
    world.report("worker-a", {make.key(1): "READY", make.key(2): "FAILED", make.key(3): "FAILED"})
    assert await resolved(world) == 1


@pytest.fixture
def restarted(make):
    """A gateway that was just started and sees only the newest of three events."""
    world = make.world()
    chain = [
        make.target(make.key(n), sequence=n, payload=f"payload-{n}", previous=f"payload-{n - 1}" if n > 1 else "")
        for n in (1, 2, 3)
    ]
    for event in chain:
        world.catalogue.add(make.served(event.stable))
        world.history.events[event.payload_sha256] = event
    world.router.apply(chain[-1])
    world.router.is_complete = True
    return world


async def test_a_new_gateway_finds_the_good_version_behind_bad_promotions(restarted, make):
    restarted.report("worker-a", {make.key(1): "READY", make.key(2): "FAILED", make.key(3): "FAILED"})
    assert await resolved(restarted) == 1
    assert await resolved(restarted) == 1
    assert restarted.history.num_calls == 1
    assert restarted.router.is_ready("local", PROD)


async def test_a_version_that_is_only_loading_is_waited_for(restarted, make):
    restarted.report("worker-a", {make.key(1): "READY", make.key(2): "READY", make.key(3): "LOADING"})
    assert await resolved(restarted) == 3
    assert restarted.history.num_calls == 0


async def test_history_is_read_again_after_a_move(restarted, make):
    restarted.report("worker-a", {make.key(1): "READY", make.key(2): "FAILED", make.key(3): "FAILED"})
    assert await resolved(restarted) == 1
    moved = make.target(make.key(4), sequence=4, payload="payload-4", previous="payload-3")
    restarted.catalogue.add(make.served(make.key(4)))
    restarted.router.apply(moved)
    restarted.report("worker-a", {make.key(1): "FAILED", make.key(3): "READY", make.key(4): "FAILED"})
    assert await resolved(restarted) == 3


async def test_history_that_cannot_be_read_is_asked_for_again_after_some_seconds(restarted, make):
    restarted.report("worker-a", {make.key(1): "READY", make.key(3): "FAILED"})
    kept = restarted.history.events.pop("payload-2")
    assert await asyncio.gather(*(resolved(restarted) for _ in range(20))) == [3] * 20
    assert restarted.history.num_calls == 1
    restarted.history.events["payload-2"] = kept
    restarted.clock.advance(4.9)
    assert await resolved(restarted) == 3
    restarted.clock.advance(0.2)
    assert await asyncio.gather(*(resolved(restarted) for _ in range(20))) == [1] * 20
    assert restarted.history.num_calls == 2


async def test_a_version_that_failed_everywhere_says_so(make):
    world = make.world()
    world.publish(make.key(), ready_at=())
    world.report("worker-a", {make.key(): "FAILED"})
    with pytest.raises(UnavailableError, match="could load"):
        await world.router.hold(make.key())


async def test_an_alias_known_only_by_a_forged_event_answers_data_loss(world):
    world.router.refuse("local", "r9", "prod", "r9@prod: no signature by a trusted key")
    with pytest.raises(DataLossError, match="signature"):
        await resolved(world, parse_selector("r9"))
    world.router.refuse("local", "r8", "prod", "forged")
    assert await resolved(world) == 1


async def test_a_worker_with_another_digest_does_not_count(world, make):
    world.report("worker-a", {make.key(1, digest="f" * 64): "READY"})
    assert not world.router.is_ready("local", PROD)


def test_the_less_loaded_of_two_wins(make):
    table = WorkerTable(random.Random(1))
    table.update("busy", WorkerReport(states={make.key(): "READY"}, num_waiting=3))
    table.update("idle", WorkerReport(states={make.key(): "READY"}))
    assert {table.choose(make.key()) for _ in range(20)} == {"idle"}
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(table.in_flight("idle", 1, lambda: None))
        assert {table.choose(make.key()) for _ in range(20)} == {"busy"}
    assert table.choose(make.key()) == "idle"


def test_the_most_loaded_of_many_is_never_chosen_and_equals_share(make):
    table = WorkerTable(random.Random(1))
    for place in range(8):
        table.update(f"w{place}", WorkerReport(states={make.key(): "READY"}, num_running=9 if place == 0 else 0))
    chosen = Counter(table.choose(make.key()) for _ in range(700))
    assert chosen["w0"] == 0
    assert min(chosen[f"w{place}"] for place in range(1, 8)) > 50


def test_index_names_states_as_the_protocol_does(world, make):
    world.publish(make.key(2), sequence=2, ready_at=())
    world.report("worker-a", {make.key(1): "DRAINING", make.key(2): "LOADING"})
    world.report("worker-b", {make.key(2): "FAILED"})
    states = {version.number: state for version, state in world.router.index("local")}
    assert states == {1: "UNLOADING", 2: "LOADING"}
