# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who leads: one at a time, the next one when the one before has gone, nobody who is not sure. On fake time."""

import asyncio
import copy

import pytest

from dragoman_common.errors import UnavailableError
from dragoman_common.testing import FakeClock
from dragoman_launcher.lease import LEASE, Leadership

pytestmark = pytest.mark.looptime


class LoopClock(FakeClock):
    def monotonic_s(self):
        return asyncio.get_running_loop().time()


class Leases:
    """The cluster's part: one object, at its version."""

    def __init__(self):
        self.lease, self.version, self.is_away = None, 0, set()

    def of(self, holder):
        return _LeasesOf(self, holder)

    @property
    def holder(self):
        return self.lease["spec"]["holderIdentity"]


class _LeasesOf:
    def __init__(self, leases, holder):
        self.leases, self.holder = leases, holder

    def check(self):
        if self.holder in self.leases.is_away:
            raise UnavailableError("away")

    async def get(self, kind, name):
        self.check()
        assert (kind, name) == ("Lease", LEASE)
        return copy.deepcopy(self.leases.lease)

    async def create(self, manifest):
        self.check()
        if self.leases.lease is not None:
            return False
        self._put(manifest)
        return True

    async def replace(self, manifest):
        self.check()
        if manifest["metadata"]["resourceVersion"] != str(self.leases.version):
            return None
        self._put(manifest)
        return manifest

    def _put(self, manifest):
        self.leases.version += 1
        manifest["metadata"] = manifest["metadata"] | {"resourceVersion": str(self.leases.version)}
        self.leases.lease = copy.deepcopy(manifest)


class Launchers:
    def __init__(self):
        self.leases, self.leading, self.max_leading, self.tasks, self.made = Leases(), [], 0, {}, {}

    def start(self, name):
        async def lead():
            self.leading.append(name)
            self.max_leading = max(self.max_leading, len(self.leading))
            try:
                await asyncio.Event().wait()
            finally:
                self.leading.remove(name)

        self.made[name] = Leadership(self.leases.of(name), holder=name, clock=LoopClock(), lead=lead, life_s=15)
        self.tasks[name] = asyncio.create_task(self.made[name].run())

    def kill(self, name):
        """As SIGKILL: nothing is given back."""
        self.leases.is_away.add(name)
        self.tasks[name].cancel()


@pytest.fixture
async def launchers():
    made = Launchers()
    yield made
    for task in made.tasks.values():
        task.cancel()
    await asyncio.gather(*made.tasks.values(), return_exceptions=True)


async def test_one_of_several_leads_and_stays(launchers):
    for name in ("a", "b", "c"):
        launchers.start(name)
    await asyncio.sleep(300)
    assert len(launchers.leading) == launchers.max_leading == 1
    assert launchers.leases.lease["spec"]["leaseTransitions"] == 0


async def test_the_next_one_leads_at_once_when_the_one_before_is_told_to_stop(launchers):
    launchers.start("a")
    await asyncio.sleep(1)
    launchers.start("b")
    await asyncio.sleep(20)
    await launchers.made["a"].stop()
    assert launchers.leading == []
    await asyncio.sleep(5)
    assert (launchers.leading, launchers.max_leading) == (["b"], 1)


async def test_the_next_one_leads_within_the_leases_life_when_the_one_before_was_killed(launchers):
    launchers.start("a")
    await asyncio.sleep(1)
    launchers.start("b")
    await asyncio.sleep(20)
    launchers.kill("a")
    await asyncio.sleep(9)
    assert launchers.leading == []
    await asyncio.sleep(11)
    assert launchers.leading == ["b"]


async def test_who_cannot_renew_leads_no_more_before_another_does(launchers):
    launchers.start("a")
    await asyncio.sleep(1)
    launchers.start("b")
    await asyncio.sleep(20)
    launchers.leases.is_away.add("a")
    left_s = None
    for second in range(40):
        if left_s is None and "a" not in launchers.leading:
            left_s = second
            assert launchers.leading == []
        await asyncio.sleep(1)
    assert left_s <= 10
    assert launchers.leading == ["b"]
    assert launchers.max_leading == 1

    launchers.leases.is_away.clear()
    await asyncio.sleep(30)
    assert launchers.leading == ["b"]


async def test_a_short_silence_of_the_server_changes_nothing(launchers):
    launchers.start("a")
    await asyncio.sleep(7)
    launchers.leases.is_away.add("a")
    await asyncio.sleep(4)
    launchers.leases.is_away.clear()
    await asyncio.sleep(20)
    assert launchers.leading == ["a"]
    assert launchers.leases.lease["spec"]["leaseTransitions"] == 0


async def test_what_ends_the_leader_ends_its_process(launchers):
    async def lead():
        raise ZeroDivisionError

    leadership = Leadership(launchers.leases.of("a"), holder="a", clock=LoopClock(), lead=lead)
    with pytest.raises(ZeroDivisionError):
        await leadership.run()
    assert launchers.leases.holder == ""
