# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A pool's workers follow their own models, and of the others know nothing: not refused, not loaded, not remembered."""

import pytest

from dragoman_worker.alias_memory import AliasMemory
from dragoman_worker.followed_models import FollowedModels


@pytest.mark.parametrize(
    ("patterns", "followed", "left"),
    [
        (("*",), ["acme/r8", "b/x"], []),
        (("acme/*",), ["acme/r8"], ["b/r8", "acme2/r8"]),
        (("*/review-*", "b/x"), ["acme/review-1", "b/x"], ["acme/r8", "b/y", "B/x"]),
        (("a?/[rs]8",), ["a1/r8", "a2/s8"], ["a/r8", "a1/t8"]),
    ],
)
def test_patterns_match_tenant_and_model_each_by_itself(patterns, followed, left):
    models = FollowedModels(patterns)
    assert [name for name in (*followed, *left) if models.has(*name.split("/"))] == followed


def test_no_pattern_reaches_over_the_slash():
    assert not FollowedModels(("*e/r8",)).has("acme", "e/r8")


@pytest.mark.parametrize("patterns", [(), ("r8",), ("a/b/c",), ("",)])
def test_pattern_that_names_no_model_is_refused(patterns):
    with pytest.raises(ValueError, match="MODELS: "):
        FollowedModels(patterns)


async def test_only_followed_models_are_loaded_and_a_bad_event_of_another_is_nothing(world, follow, linear_package):
    mine = world.publish(1, linear_package(1), model="r8")
    other = world.publish(2, linear_package(2), model="big")
    world.point(mine)
    world.point(other)
    world.registry.files["local", "big", 2]["weights.safetensors"] = b"x"
    follower = await follow(models=("local/r*",))
    await follower.until_states({1: "READY"})
    await follower.placement.wait_settled()
    assert follower.placement.find("local", "big", 2) is None
    later = world.publish(3, linear_package(3), model="r9")
    world.point(later)
    await follower.until_states({1: "READY", 3: "READY"})
    remembered = AliasMemory(follower.cache_folder, world.keys).recall()
    assert sorted(record.model for record, _ in remembered) == ["r8", "r9"]


async def test_what_another_pool_of_the_node_remembers_is_not_followed(world, follow, linear_package, tmp_path):
    world.point(world.publish(1, linear_package(1), model="r8"))
    world.point(world.publish(2, linear_package(2), model="big"))
    everything = await follow()
    await everything.until_states({1: "READY", 2: "READY"})
    assert len(AliasMemory(tmp_path / "cache", world.keys).recall()) == 2
    some = await follow(models=("*/big",))
    await some.until_states({2: "READY"})
    await some.placement.wait_settled()
    assert some.states() == {2: "READY"}
