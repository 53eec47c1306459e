# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A worker that starts while an alias points to a version that cannot be loaded: what serves instead, and how long."""

import asyncio

import numpy as np
import pytest

from dragoman_common.errors import UnavailableError
from dragoman_models.signing import SigningKey
from dragoman_worker.ports import RunnerEndedError
from dragoman_worker.stand_in import MAX_PASSING_FAILURES, MAX_STEPS_BACK, is_lasting
from dragoman_worker.starter import VersionLimitError

ROW = np.array([3, 5, 7], dtype=np.int32)


def promote(world, package, number, *, is_good=True):
    """Publish a version, damage it in the store perhaps, and point prod to it."""
    manifest = world.publish(number, package(number))
    if not is_good:
        damage(world, number)
    world.point(manifest)


def damage(world, number):
    world.registry.files["local", "r8", number]["card.md"] += b"x"


async def test_version_before_a_tampered_one_serves_after_a_restart_until_the_newest_is_whole(
    world, follow, linear_package
):
    promote(world, linear_package, 1)
    promote(world, linear_package, 2, is_good=False)
    follower = await follow()
    await follower.placement.wait_settled()
    await follower.until_states({1: "READY", 2: "FAILED"})
    assert follower.held(2).reason.startswith("DATA_LOSS: local/r8/versions/2/card.md")
    engine = follower.placement.find("local", "r8", 1).serving_engine()
    assert (await engine.score("local", [ROW], asyncio.get_running_loop().time() + 10)).shape == (1, 3)
    world.registry.files["local", "r8", 2] = dict(linear_package(2))
    await follower.until_states({2: "READY"})


async def test_worker_is_not_settled_before_the_stand_in_has_come_up(world, follow, linear_package):
    promote(world, linear_package, 1)
    promote(world, linear_package, 2, is_good=False)
    follower = await follow()
    await follower.placement.wait_settled()
    assert follower.states() == {1: "READY", 2: "FAILED"}


async def test_bad_versions_in_a_row_are_stepped_over_and_let_go(world, follow, linear_package):
    promote(world, linear_package, 1)
    for number in (2, 3, 4):
        promote(world, linear_package, number, is_good=False)
    follower = await follow()
    await follower.until_states({1: "READY", 4: "FAILED"})


async def test_rolled_back_version_does_not_stand_in_for_one_that_is_only_away(world, follow, linear_package):
    promote(world, linear_package, 1)
    promote(world, linear_package, 2)
    seen = []
    world.registry.num_failing_downloads = 4
    follower = await follow()
    await follower.until(lambda: seen.append(follower.states()) or follower.states() == {2: "READY"})
    assert {2: "FAILED"} in seen
    assert not any(1 in states for states in seen)


async def test_patience_has_an_end(world, follow, linear_package, caplog):
    for number in range(1, MAX_STEPS_BACK + 3):
        promote(world, linear_package, number, is_good=number <= 1)
    newest = MAX_STEPS_BACK + 2
    follower = await follow()
    last = newest - MAX_STEPS_BACK

    def num_failures():
        return sum(1 for one in caplog.records if getattr(one, "version", "") == f"local/r8/versions/{last}")

    await follower.until(lambda: num_failures() >= 4)
    assert follower.states() == {last: "FAILED", newest: "FAILED"}


async def test_history_with_another_predecessor_is_not_believed(world, follow, linear_package, caplog):
    promote(world, linear_package, 1)
    other = world.publish(3, linear_package(3))
    promote(world, linear_package, 2, is_good=False)
    history = world.registry.alias_history["local", "r8", "prod"]
    forged = world.event(other, sequence=1, previous_sha256="", key=SigningKey.generate())
    history[1] = forged.envelope
    follower = await follow()
    await follower.until(lambda: any(one.message == "alias history not read" for one in caplog.records))
    assert follower.states() == {2: "FAILED"}
    # One that is signed, and is not the event that was followed: the digest tells.
    history[1] = world.event(other, sequence=1, previous_sha256="").envelope
    caplog.clear()
    await follower.until(lambda: any("another predecessor" in str(vars(one)) for one in caplog.records))
    assert follower.states() == {2: "FAILED"}


async def test_alias_that_moves_on_needs_no_stand_in(world, follow, linear_package):
    promote(world, linear_package, 1)
    promote(world, linear_package, 2, is_good=False)
    follower = await follow()
    await follower.until_states({1: "READY", 2: "FAILED"})
    promote(world, linear_package, 3)
    await follower.until_states({3: "READY"})


@pytest.mark.parametrize(
    ("error", "num_failures", "expected"),
    [
        (UnavailableError("away"), 1, False),
        (UnavailableError("away"), MAX_PASSING_FAILURES, True),
        (RunnerEndedError("SIGKILL", is_own_doing=False), 1, False),
        (VersionLimitError("full"), 100, False),
        (ValueError("a defect"), 1, True),
    ],
)
def test_only_failures_that_speak_against_the_version_are_lasting(error, num_failures, expected):
    assert is_lasting(error, num_failures) is expected
