# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Placement with real packages, signatures and processes: what is loaded, what is refused, and what keeps serving."""

import asyncio
import dataclasses
import os
import signal

import numpy as np
import pytest

from dragoman_common.errors import UnavailableError
from dragoman_models.architecture import load_classifier
from dragoman_models.package import parse_model_config
from dragoman_models.signing import SigningKey
from dragoman_worker.alias_book import MAX_REFUSED
from dragoman_worker.held_version import State

ROW = np.array([3, 5, 7], dtype=np.int32)


def scores_of(files, rows) -> np.ndarray:
    config = parse_model_config(files["model.json"])
    return load_classifier(config, files["weights.safetensors"]).score(rows)


async def ask(follower, number, rows=(ROW,), *, tenant="local", within_s=10.0):
    engine = follower.placement.find(tenant, "r8", number).serving_engine()
    return await engine.score(tenant, list(rows), asyncio.get_running_loop().time() + within_s)


async def test_alias_loads_the_version_that_it_points_to(world, follow, linear_package):
    files = linear_package(1)
    manifest = world.publish(1, files)
    follower = await follow()
    await follower.placement.wait_settled()
    assert follower.states() == {}
    world.point(manifest)
    await follower.until_states({1: "READY"})
    np.testing.assert_allclose(await ask(follower, 1), scores_of(files, [ROW]), atol=1e-6)
    assert follower.held(1).vocabulary_size == 100
    assert follower.placement.find("other", "r8", 1) is None


async def test_new_version_replaces_the_old_one_only_when_it_is_ready(world, follow, linear_package):
    old, new = linear_package(1), linear_package(2)
    world.point(world.publish(1, old))
    follower = await follow()
    await follower.until_states({1: "READY"})
    old_pid = follower.launcher.pid
    seen = []
    world.point(world.publish(2, new))
    await follower.until(lambda: seen.append(follower.states()) or follower.states() == {2: "READY"})
    assert {1: "READY", 2: "LOADING"} in seen
    assert {1: "DRAINING", 2: "READY"} in seen
    assert not any(2 in states and states[2] != "READY" and states.get(1) != "READY" for states in seen)
    np.testing.assert_allclose(await ask(follower, 2), scores_of(new, [ROW]), atol=1e-6)
    with pytest.raises(ProcessLookupError):
        os.kill(old_pid, 0)


async def test_swap_under_load_loses_no_call(world, follow, linear_package):
    packages = {number: linear_package(number) for number in range(1, 5)}
    manifests = {number: world.publish(number, files) for number, files in packages.items()}
    world.point(manifests[1])
    follower = await follow(linger_ms=100)
    await follower.until_states({1: "READY"})
    is_over = False
    answered: list[int] = []

    async def client(seed: int) -> None:
        generator = np.random.default_rng(seed)
        while not is_over:
            # As a gateway does: the newest version that is reported ready.
            number = max(held.ref.number for held in follower.placement.held() if held.state is State.READY)
            rows = [generator.integers(1, 100, size=n).astype(np.int32) for n in (1, 7)]
            await asyncio.sleep(0)
            np.testing.assert_allclose(await ask(follower, number, rows), scores_of(packages[number], rows), atol=1e-5)
            answered.append(number)

    clients = [asyncio.create_task(client(seed)) for seed in range(8)]
    for number in (2, 3, 4):
        world.point(manifests[number])
        await follower.until_states({number: "READY"})
    is_over = True
    await asyncio.gather(*clients)
    assert set(answered) == {1, 2, 3, 4}


@pytest.mark.parametrize("path", ["model.json", "weights.safetensors", "tokenizer.json", "card.md", "evaluation.json"])
async def test_flipped_bit_in_any_file_is_refused_and_the_old_version_keeps_serving(
    world, follow, linear_package, path
):
    old = linear_package(1)
    world.point(world.publish(1, old))
    follower = await follow()
    await follower.until_states({1: "READY"})
    manifest = world.publish(2, linear_package(2))
    whole = world.registry.files["local", "r8", 2][path]
    world.registry.files["local", "r8", 2][path] = whole[:-1] + bytes([whole[-1] ^ 1])
    world.point(manifest)
    await follower.until_states({1: "READY", 2: "FAILED"})
    assert follower.held(2).reason.startswith("DATA_LOSS: local/r8/versions/2/" + path)
    np.testing.assert_allclose(await ask(follower, 1), scores_of(old, [ROW]), atol=1e-6)
    with pytest.raises(UnavailableError):
        await ask(follower, 2)
    # It is tried again, and comes up when the store is whole again.
    world.registry.files["local", "r8", 2][path] = whole
    await follower.until_states({2: "READY"})


async def test_file_damaged_in_the_cache_is_fetched_again(world, follow, linear_package):
    manifest = world.publish(1, linear_package(1))
    world.point(manifest)
    follower = await follow()
    await follower.until_states({1: "READY"})
    for file in manifest.files:
        blob = follower.cache_folder / "sha256" / file.sha256
        blob.write_bytes(b"x" + blob.read_bytes()[1:])
    downloads = dict(world.registry.num_downloads)
    os.kill(follower.launcher.pid, signal.SIGKILL)
    await follower.until(lambda: follower.held(1).num_starts == 2 and len(follower.launcher.runners) == 2)
    assert {path: count - downloads[path] for path, count in world.registry.num_downloads.items()} == dict.fromkeys(
        downloads, 1
    )
    np.testing.assert_allclose(await ask(follower, 1), scores_of(linear_package(1), [ROW]), atol=1e-6)


async def test_manifest_signed_by_a_stranger_is_refused(world, follow, linear_package):
    world.point(world.publish(1, linear_package(1)))
    follower = await follow()
    await follower.until_states({1: "READY"})
    world.point(world.publish(2, linear_package(2), key=SigningKey.generate()))
    await follower.until_states({1: "READY", 2: "FAILED"})
    assert follower.held(2).reason == "DATA_LOSS: local/r8/versions/2: no signature by a trusted key"


async def test_signed_manifest_of_another_version_is_refused(world, follow, linear_package):
    world.point(world.publish(1, linear_package(1)))
    follower = await follow()
    await follower.until_states({1: "READY"})
    manifest = world.publish(2, linear_package(2))
    world.registry.manifests["local", "r8", 2] = world.registry.manifests["local", "r8", 1]
    world.point(manifest)
    await follower.until_states({1: "READY", 2: "FAILED"})
    assert follower.held(2).reason.startswith("DATA_LOSS")


async def test_file_that_the_manifest_does_not_list_never_reaches_the_disk(world, follow, linear_package):
    manifest = world.publish(1, linear_package(1))
    world.registry.files["local", "r8", 1]["extra.py"] = b"print()"
    world.point(manifest)
    follower = await follow()
    await follower.until_states({1: "READY"})
    names = {path.name for path in (follower.cache_folder / "workers").glob("*/versions/**/*") if path.is_file()}
    assert names == {file.path for file in manifest.files}


@pytest.mark.parametrize("how", ["stranger", "other alias", "no signature", "old event", "broken chain"])
async def test_alias_event_from_elsewhere_is_refused_and_moves_nothing(world, follow, linear_package, how):
    first, second = world.publish(1, linear_package(1)), world.publish(2, linear_package(2))
    old_event = world.event(second)
    world.point(first)
    follower = await follow()
    await follower.until_states({1: "READY"})
    if how == "stranger":
        forged = world.event(second, key=SigningKey.generate())
    elif how == "other alias":
        forged = dataclasses.replace(world.event(second, alias="canary"), alias="prod")
    elif how == "no signature":
        forged = dataclasses.replace(world.event(second), envelope=b"{}")
    elif how == "old event":
        forged = old_event
    else:
        forged = world.event(second, previous_sha256="0" * 64)
    world.registry.set_alias(forged)
    await follower.until_states({1: "READY", 2: "FAILED"})
    assert follower.held(2).reason.startswith("DATA_LOSS: local/r8/aliases/prod")
    np.testing.assert_allclose(await ask(follower, 1), scores_of(linear_package(1), [ROW]), atol=1e-6)


async def test_candidate_is_loaded_beside_the_stable_version(world, follow, linear_package):
    stable, candidate = world.publish(1, linear_package(1)), world.publish(2, linear_package(2))
    world.point(stable, candidate=candidate)
    follower = await follow()
    await follower.until_states({1: "READY", 2: "READY"})
    world.point(stable)
    await follower.until_states({1: "READY"})


async def test_broken_watch_is_resumed_and_events_missed_meanwhile_are_seen(world, follow, linear_package):
    world.point(world.publish(1, linear_package(1)))
    follower = await follow()
    await follower.until_states({1: "READY"})
    world.registry.is_away = True
    world.registry.break_watches()
    for number in (2, 3):
        world.point(world.publish(number, linear_package(number)))
    np.testing.assert_allclose(await ask(follower, 1), scores_of(linear_package(1), [ROW]), atol=1e-6)
    world.registry.is_away = False
    await follower.until_states({3: "READY"})


async def test_two_tenants_with_one_content_share_the_cache_and_not_the_process(world, follow, linear_package):
    files = linear_package(1)
    world.point(world.publish(1, files, tenant="a"))
    world.point(world.publish(1, files, tenant="b"))
    follower = await follow()
    await follower.until(lambda: [held.state for held in follower.placement.held()] == [State.READY, State.READY])
    assert len({runner.pid for runner in follower.launcher.runners}) == 2
    assert [held.ref.tenant for held in follower.placement.held("a")] == ["a"]


async def test_model_larger_than_the_cache_fails_with_the_limit(world, follow, linear_package):
    world.point(world.publish(1, linear_package(1)))
    follower = await follow(max_cache_bytes=100)
    await follower.until_states({1: "FAILED"})
    assert follower.held(1).reason.startswith("FAILED_PRECONDITION: the worker's cache is limited to 100 bytes")


async def test_least_recently_used_content_makes_room(world, follow, linear_package):
    sizes = sum(len(data) for data in linear_package(1).values())
    follower = await follow(max_cache_bytes=int(sizes * 2.5))
    for number in range(1, 6):
        world.point(world.publish(number, linear_package(number)))
        await follower.until_states({number: "READY"})
    kept = sum(blob.stat().st_size for blob in (follower.cache_folder / "sha256").iterdir())
    assert kept <= sizes * 2.5


async def test_signed_package_that_is_no_model_is_failed_not_fatal(world, follow, linear_package):
    files = linear_package(1) | {"weights.safetensors": b"not safetensors, but signed"}
    world.point(world.publish(1, files))
    follower = await follow()
    await follower.until_states({1: "FAILED"})
    assert follower.held(1).reason.startswith("INVALID_ARGUMENT: weights.safetensors")


async def test_version_above_the_limit_is_failed_with_the_limit_and_loaded_when_there_is_a_place(
    world, follow, linear_package
):
    manifests = [world.publish(number, linear_package(number)) for number in (1, 2, 3)]
    world.point(manifests[0])
    world.point(manifests[1], alias="second")
    follower = await follow(max_loaded_versions=2)
    await follower.until_states({1: "READY", 2: "READY"})
    world.point(manifests[2], alias="third")
    await follower.until_states({1: "READY", 2: "READY", 3: "FAILED"})
    assert follower.held(3).reason.startswith("FAILED_PRECONDITION: the worker holds 2 versions")
    assert "MAX_LOADED_VERSIONS" in follower.held(3).reason
    world.point(manifests[0], alias="second")
    await follower.until_states({1: "READY", 3: "READY"})


async def test_loads_wait_for_their_turn(world, follow, linear_package, monkeypatch):
    num_now = most = 0
    follower = await follow(max_concurrent_loads=2)
    launch = follower.launcher.launch

    async def counted(files):
        nonlocal num_now, most
        num_now += 1
        most = max(most, num_now)
        try:
            return await launch(files)
        finally:
            num_now -= 1

    monkeypatch.setattr(follower.launcher, "launch", counted)
    for number in range(1, 6):
        world.point(world.publish(number, linear_package(number)), alias=f"alias-{number}")
    await follower.until_states(dict.fromkeys(range(1, 6), "READY"))
    assert most == 2


async def test_refused_events_with_names_that_nobody_signed_take_bounded_memory(world, follow, linear_package):
    world.point(world.publish(1, linear_package(1)))
    follower = await follow()
    await follower.until_states({1: "READY"})
    forged = world.event(world.publish(2, linear_package(2)), key=SigningKey.generate())
    for index in range(3 * MAX_REFUSED):
        world.registry.set_alias(dataclasses.replace(forged, alias=f"{index}-{'x' * 10_000}", stable_version=index + 2))
    last = 3 * MAX_REFUSED + 1
    await follower.until(lambda: last in follower.states())
    refused = [held for held in follower.placement.held() if held.state is State.FAILED]
    assert len(refused) == MAX_REFUSED
    assert max(len(held.reason) for held in refused) <= 1024
    assert follower.states()[1] == "READY"


async def test_defect_while_loading_is_reported_and_tried_again(world, follow, linear_package, monkeypatch):
    follower = await follow()
    launch = follower.launcher.launch

    async def broken(_files):
        raise ZeroDivisionError

    monkeypatch.setattr(follower.launcher, "launch", broken)
    world.point(world.publish(1, linear_package(1)))
    await follower.until_states({1: "FAILED"})
    assert follower.held(1).reason == "MODEL_FAILED: a defect of the worker; its log has it"
    monkeypatch.setattr(follower.launcher, "launch", launch)
    await follower.until_states({1: "READY"})
