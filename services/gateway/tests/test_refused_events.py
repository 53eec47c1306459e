# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""An alias event whose version does not hold is tried again: until the version is repaired, or the alias moves on."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from dragoman_common.errors import DataLossError
from dragoman_gateway.refused_events import FIRST_PAUSE_S, MAX_PAUSE_S, RefusedEvents
from dragoman_models.signing import SigningKey


class Tries:
    """Counts checks, which fail until `is_repaired`."""

    def __init__(self):
        self.is_repaired = False
        self.at_s, self.applied = [], []
        self.events = RefusedEvents(self.check, self.applied.append)

    async def check(self, target):
        self.at_s.append(asyncio.get_running_loop().time())
        if not self.is_repaired:
            raise DataLossError("not what was signed")

    @asynccontextmanager
    async def running(self):
        task = asyncio.ensure_future(self.events.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.looptime
async def test_a_refused_event_is_tried_ever_more_slowly_and_taken_once_its_version_holds(make):
    tries, event = Tries(), make.target(make.key())
    async with tries.running():
        await asyncio.sleep(1)
        tries.events.add(event)
        await asyncio.sleep(300)
        pauses = [after - before for before, after in zip(tries.at_s, tries.at_s[1:], strict=False)]
        assert pauses[1] == 2 * pauses[0]
        assert (min(pauses) >= FIRST_PAUSE_S, max(pauses)) == (True, MAX_PAUSE_S)
        assert tries.applied == []
        tries.is_repaired = True
        await asyncio.sleep(MAX_PAUSE_S)
        assert tries.applied == [event]
        num_checks = len(tries.at_s)
        await asyncio.sleep(300)
        assert len(tries.at_s) == num_checks


@pytest.mark.looptime
async def test_a_superseded_event_is_never_applied_even_when_its_check_runs(make):
    tries, old, new = Tries(), make.target(make.key()), make.target(make.key(2), sequence=2)
    tries.is_repaired = True
    check = tries.events._check

    async def slow(target):
        await check(target)
        await asyncio.sleep(10)

    tries.events._check = slow
    async with tries.running():
        tries.events.add(old)
        await asyncio.sleep(FIRST_PAUSE_S + 1)
        assert len(tries.at_s) == 1
        tries.events.supersede(new)
        await asyncio.sleep(60)
        assert (tries.applied, len(tries.at_s)) == ([], 1)


async def test_an_alias_answers_with_its_new_version_once_that_is_repaired_in_the_registry(
    gateway, platform, fake_platform
):
    manifest = fake_platform.manifest_of(2)
    # The alias's event is the registry's; the version's record is not, as if the store were damaged.
    platform.registry.publish(manifest, key=SigningKey.generate())
    platform.worker.hold(manifest)
    platform.registry.move(manifest)
    platform.publish(1, model="bbc")
    # Events come in order: when the later one has come, the refused one has been looked at.
    await gateway.eventually(lambda: is_known(gateway, "bbc"))
    assert (await gateway.classify("oil")).version == 1
    platform.registry.publish(manifest)

    async def is_new():
        return (await gateway.classify("oil")).version == 2

    await gateway.eventually(is_new)


async def is_known(gateway, model):
    from dragoman.gateway.v1 import gateway_pb2

    answer = await gateway.own.ListModels(gateway_pb2.ListModelsRequest(), metadata=gateway.auth(), timeout=5)
    return model in str(answer)
