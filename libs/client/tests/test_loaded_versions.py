# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the workers of several pools hold is one picture, and a pool without workers hides no other's."""

import asyncio

import pytest

from dragoman.inference.v1 import worker_pb2
from dragoman_client import loaded_versions
from dragoman_client.cli.loading import loading_of_version
from dragoman_client.loaded_versions import LoadedVersions
from dragoman_common.errors import DeadlineExceededError, UnavailableError


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(loaded_versions, "_PAUSE_S", 0)
    monkeypatch.setattr(loaded_versions, "_FIRST_WORD_S", 0.05)


class Stub:
    """Each watch plays the next part: lists of models that are said, and then an error, or silence."""

    def __init__(self, *parts):
        self._parts = iter(parts)

    async def WatchLoaded(self, _request, **_):
        for said in next(self._parts, [None]):
            if isinstance(said, Exception):
                raise said
            if said is None:
                await asyncio.Event().wait()
            yield worker_pb2.WatchLoadedResponse(versions=[version(model) for model in said])


def version(model, state=worker_pb2.LOAD_STATE_READY):
    return worker_pb2.LoadedVersion(model=model, number=1, root_sha256="0" * 64, state=state)


async def first(watch, num=1):
    seen = []
    async for versions in watch:
        seen.append([one.model for one in versions])
        if len(seen) == num:
            break
    await watch.aclose()
    return seen


async def test_what_two_pools_hold_is_said_together_once_both_have_spoken():
    stubs = {"a:1": Stub([["one"], ["one", "more"], None]), "b:1": Stub([["two"], None])}
    seen = await first(LoadedVersions(stubs).watch(timeout_s=5))
    assert sorted(seen[0]) in (["one", "two"], ["more", "one", "two"])


async def test_a_pool_that_is_away_hides_no_other_and_is_asked_again():
    away = UnavailableError("nobody")
    stubs = {"a:1": Stub([["one"], None]), "b:1": Stub([away], [["two"], None])}
    assert await first(LoadedVersions(stubs).watch(timeout_s=5), num=2) == [["one"], ["one", "two"]]


async def test_a_silent_pool_hides_no_other_for_longer_than_a_first_word_takes():
    stubs = {"a:1": Stub([["one"], None]), "b:1": Stub([None])}
    assert await first(LoadedVersions(stubs).watch(timeout_s=5)) == [["one"]]
    with pytest.raises(DeadlineExceededError):
        await first(LoadedVersions(stubs | {"a:1": Stub([["one"], None])}).watch(timeout_s=0.1), num=2)


async def test_one_that_flaps_keeps_no_watch_alive_beyond_its_time():
    away = UnavailableError("nobody")
    flapping = Stub(*([[["one"]], [away]] * 100_000))
    with pytest.raises((DeadlineExceededError, UnavailableError)):
        async for _ in LoadedVersions({"a:1": flapping}).watch(timeout_s=0.1):
            pass


@pytest.mark.parametrize("error", [UnavailableError("nobody"), DeadlineExceededError("too long")])
async def test_nobody_that_answers_is_an_error(error):
    with pytest.raises(type(error)):
        await first(LoadedVersions({"a:1": Stub([error])}).watch(timeout_s=5))
    with pytest.raises(UnavailableError, match="DRAGOMAN_SERVICES"):
        await first(LoadedVersions({}).watch(timeout_s=5))


def test_a_version_is_as_ready_as_the_best_worker_that_holds_it():
    states = (worker_pb2.LOAD_STATE_FAILED, worker_pb2.LOAD_STATE_READY, worker_pb2.LOAD_STATE_LOADING)
    held = [version("one", state) for state in states]
    assert loading_of_version("one", 1, "0" * 64, held).state == "ready"
    assert loading_of_version("one", 1, "0" * 64, [held[0], held[2]]).state == "loading"
    assert loading_of_version("two", 1, "0" * 64, held).state == "absent"
