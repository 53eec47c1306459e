# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A gateway is killed (SIGKILL) before and after inference, acknowledgement and reply, on Kafka: OK implies present.

Gateways die at one point after the other, each on the spool that the last one left; a monitor reads all along.
"""

import pytest

from tests.faults.conftest import DURABILITY, TENANTS
from tests.faults.figures import note
from tests.faults.load import Load
from tests.faults.oracle import BrokenPromiseError
from tests.faults.processes import target_of, until_killed
from tests.faults.sizes import IS_FULL, SIZES, SMALL

NUM_CALLERS = 16
NTH = 40
POINTS = [
    "before_inference",
    "after_inference",
    "before_acknowledge",
    "after_acknowledge",
    "before_reply",
    "after_reply",
]
MORE_POINTS = ["before_spool", "after_spool", "before_drop"]
ROUNDS = 3 if IS_FULL else 1


async def run(scene, platform, points, sizes, *words, durability=DURABILITY):
    load = Load(platform, tenants=list(TENANTS), num_callers=NUM_CALLERS, rows=sizes.rows)
    # Kafka's producer writes in groups, so its points are met less often.
    with scene.monitor():
        for place, point in enumerate(points):
            nth = (NTH if "acknowledge" not in point and "spool" not in point else NTH // 4) + place
            with scene.gateway(platform, *words, point=point, nth=nth, **durability) as gateway:
                num_before = load.calls.num_rows
                await load.run(await target_of(gateway), until_refused=True)
                await until_killed(gateway)
                assert load.calls.num_rows > num_before, f"{point}: killed before anything was answered"
        with scene.gateway(platform, **DURABILITY) as gateway:
            await target_of(gateway)
            await scene.until_replayed()
        await scene.until_read()
        await scene.check(load.calls)
    return load.calls


async def test_a_gateway_killed_at_any_point_has_every_event_that_it_said_ok_to(scene, platform):
    points = (POINTS + MORE_POINTS * IS_FULL) * ROUNDS
    calls = await run(scene, platform, points, SIZES)
    note(f"gateway kills: {len(points)} kills, {calls.num_rows} predictions answered OK, {dict(calls.codes)}")


async def test_a_gateway_that_drops_from_its_spool_before_the_log_has_it_is_found_out(scene, platform):
    with pytest.raises(BrokenPromiseError, match="lost"):
        spooled = {"EVENT_DURABILITY": "spooled"}
        await run(scene, platform, ["before_acknowledge"], SMALL, "DROP_FIRST", durability=spooled)
