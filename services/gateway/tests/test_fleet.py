# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Workers come and go by name: each address is a worker, a new one is used, a gone one drains, a broken one is left."""

import asyncio

from dragoman_common.errors import UnavailableError


async def test_every_address_of_the_name_is_a_worker(scene):
    first, second = await scene.add(), await scene.add()
    scene.names.say(first)
    await scene.until_chosen(first)
    scene.names.say(first, second)
    await scene.until_chosen(first, second)
    assert scene.table.has_ready_workers("gpu")
    assert not scene.table.has_ready_workers("default")
    # What a certificate is held against is the name, not the address.
    assert scene.opened == [(first, "workers.ns.svc"), (second, "workers.ns.svc")]
    assert (await scene.score(second)).shape == (1, 3)


async def test_a_new_worker_is_used_within_5_s_of_its_first_report(scene):
    first = await scene.add()
    scene.names.say(first)
    await scene.until_chosen(first)
    second = await scene.add()
    scene.names.say(first, second)
    await scene.until_chosen(first, second, timeout_s=5)


async def test_a_broken_connection_drops_the_worker_at_once(scene):
    first, second = await scene.add(), await scene.add()
    scene.names.say(first, second)
    await scene.until_chosen(first, second)
    await scene.servers[1].aclose()
    await scene.until_chosen(first, timeout_s=1)


async def test_an_address_that_lost_its_name_ends_its_calls_and_takes_no_new_ones(scene):
    first, second = await scene.add(), await scene.add()
    scene.names.say(first, second)
    await scene.until_chosen(first, second)
    scene.workers[1].is_open.clear()
    call = asyncio.ensure_future(scene.score(second))
    await scene.workers[1].was_called.wait()
    scene.names.say(first)
    assert scene.chosen() == {first}
    scene.workers[1].is_open.set()
    assert (await call).shape == (1, 3)
    # The name is back before the worker has gone: the connection was kept.
    scene.names.say(first, second)
    assert scene.chosen() == {first, second}
    assert len(scene.opened) == 2


async def test_workers_whose_names_have_all_gone_answer_while_they_can(scene):
    first = await scene.add()
    scene.names.say(first)
    await scene.until_chosen(first)
    scene.names.say()
    assert scene.chosen() == {first}
    await scene.servers[0].aclose()
    await scene.until_chosen()


async def test_a_worker_without_name_and_connection_is_forgotten_and_may_come_back(scene):
    first = await scene.add()
    scene.names.say(first)
    await scene.until_chosen(first)
    scene.names.say()
    scene.workers[0].feed.cut(UnavailableError("gone"))
    await scene.until_chosen()
    scene.names.say(first)
    await scene.until_chosen(first)
    assert len(scene.opened) == 2
