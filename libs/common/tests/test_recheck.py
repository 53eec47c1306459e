# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How old a fact may be when it is used, what asking again costs, and what holds while nobody answers."""

import asyncio

import pytest

from dragoman_common.errors import UnavailableError
from dragoman_common.recheck import Rechecks

pytestmark = pytest.mark.looptime


class Source:
    def __init__(self):
        self.asked, self.takes_s, self.failure = [], 0.0, None

    async def ask(self, key):
        self.asked.append((key, asyncio.get_running_loop().time()))
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        if self.failure:
            raise self.failure


def now_s():
    return asyncio.get_running_loop().time()


async def test_a_young_fact_is_used_as_it_is():
    source = Source()
    rechecks = Rechecks(source.ask)
    rechecks.note("a")
    await asyncio.sleep(14.9)
    await rechecks.before_use("a")
    assert source.asked == []


async def test_a_fact_in_constant_use_is_asked_again_in_the_background_and_nobody_waits():
    source = Source()
    source.takes_s = 1.0
    rechecks = Rechecks(source.ask)
    rechecks.note("a")
    for _ in range(120):
        await asyncio.sleep(1.0)
        before_s = now_s()
        await rechecks.before_use("a")
        assert now_s() == before_s
    # One question per 15 s and the second that each takes.
    assert [at for _, at in source.asked] == [15, 31, 47, 63, 79, 95, 111]


async def test_an_idle_fact_is_asked_again_before_it_is_used_once_for_all_who_wait():
    source = Source()
    source.takes_s = 0.5
    rechecks = Rechecks(source.ask)
    rechecks.note("a")
    await asyncio.sleep(30.0)
    await asyncio.gather(*(rechecks.before_use("a") for _ in range(50)))
    assert (now_s(), len(source.asked)) == (30.5, 1)


async def test_a_source_that_is_away_costs_one_wait_and_what_is_known_holds():
    source = Source()
    source.failure = UnavailableError("away")
    rechecks = Rechecks(source.ask)
    await asyncio.sleep(100.0)
    for key in "abc":
        await rechecks.before_use(key)
    source.failure, source.takes_s = None, 60.0
    await asyncio.sleep(20.0)
    before_s = now_s()
    await rechecks.before_use("d")
    assert now_s() - before_s == 2.0
    await rechecks.before_use("e")
    assert now_s() - before_s == 2.0
    await rechecks.close()


async def test_a_user_that_leaves_does_not_stop_the_question():
    source = Source()
    source.takes_s = 1.0
    rechecks = Rechecks(source.ask)
    users = [asyncio.ensure_future(rechecks.before_use("a")) for _ in range(2)]
    await asyncio.sleep(0)
    users[0].cancel()
    await users[1]
    assert len(source.asked) == 1


async def test_the_number_of_facts_is_bounded_and_a_forgotten_one_counts_as_old():
    source = Source()
    rechecks = Rechecks(source.ask, max_keys=2)
    for key in "abc":
        rechecks.note(key)
    for key in "cba":
        await rechecks.before_use(key)
    assert [key for key, _ in source.asked] == ["a"]


async def test_a_defect_reaches_whoever_waits():
    source = Source()
    source.failure = RuntimeError("a defect")
    with pytest.raises(RuntimeError, match="a defect"):
        await Rechecks(source.ask).before_use("a")
