# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Load reports over real gRPC: in trailers and out of band, balanced on, and missed when they stop."""

import asyncio

import pytest

from dragoman_common.errors import OverloadedError, UnavailableError
from dragoman_gateway import orca
from dragoman_gateway.load import LoadReport
from dragoman_gateway.ports import CallLostError
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport

LOAD = {"pending_tokens": 40.0, "waiting_calls": 3.0, "running_calls": 2.0, "queue_time_ms": 250.0}
EXPECTED = LoadReport(
    pending_tokens=40.0, capacity_tokens=400.0, waiting_calls=3.0, running_calls=2.0, queue_time_s=0.25
)


def told(**changes):
    return OrcaLoadReport(named_metrics=LOAD | changes, application_utilization=0.1).SerializeToString()


@pytest.fixture
def quick(monkeypatch):
    """Silence is noticed in a tenth of the time."""
    monkeypatch.setattr(orca, "SILENT_S", 0.3)
    monkeypatch.setattr(orca, "GIVE_UP_S", 0.6)


@pytest.mark.parametrize("name", orca.TRAILERS)
def test_a_trailer_is_read_by_our_name_and_the_standards(name):
    assert orca.report_from_trailer([("x", "y"), (name, told())]) == EXPECTED


@pytest.mark.parametrize(
    "metadata",
    [None, (), [("x", b"y")], [(orca.TRAILERS[0], b"\xff\xff")], [(orca.TRAILERS[0], b"\x00" * 5_000)]],
)
def test_a_trailer_that_cannot_be_read_is_none(metadata):
    assert orca.report_from_trailer(metadata) is None


def test_numbers_below_zero_are_not_believed():
    names = ("pending_tokens", "queue_time_ms", "waiting_calls", "running_calls")
    damaged = OrcaLoadReport(named_metrics=dict.fromkeys(names, -1.0), application_utilization=-1.0)
    assert orca.report_from_pb(damaged) == LoadReport(pending_tokens=0.0)


async def test_calls_go_to_the_less_loaded_of_two_by_their_streams(scene, many_workers):
    reports = [many_workers.Orca(), many_workers.Orca()]
    first, second = await scene.add(reports[0]), await scene.add(reports[1])
    scene.names.say(first, second)
    reports[0].load = {"pending_tokens": 500.0}
    await scene.until_chosen(second)
    reports[1].load = {"pending_tokens": 900.0}
    await scene.until_chosen(first)
    # Of what it takes, the second has less pending.
    reports[0].share, reports[1].share = 0.5, 0.1
    await scene.until_chosen(second)
    assert reports[0].asked_s == orca.INTERVAL_S


@pytest.mark.parametrize("error", [None, OverloadedError("full"), UnavailableError("gone")])
async def test_the_trailer_of_each_call_tells_the_load_refused_ones_too(scene, error):
    first, second = await scene.add(), await scene.add()
    scene.names.say(first, second)
    await scene.until_chosen(first, second)
    scene.workers[0].trailer = ((orca.TRAILERS[0], told()),)
    scene.workers[1].trailer = ((orca.TRAILERS[0], told(pending_tokens=0.0)),)
    for address, worker in zip((first, second), scene.workers, strict=True):
        worker.failures = [error] if error else []
        try:
            await scene.score(address)
        except (OverloadedError, UnavailableError):
            assert error is not None
    assert scene.table.queue_times_s(scene.key) == [0.25, 0.25]
    assert scene.chosen() == {second}


async def test_a_call_that_a_worker_ended_is_lost_and_one_that_met_none_is_not(scene):
    first = await scene.add()
    scene.names.say(first)
    await scene.until_chosen(first)
    scene.workers[0].failures = [UnavailableError("its process ended"), UnavailableError("not a worker's answer")]
    scene.workers[0].trailer = ((orca.TRAILERS[0], told()),)
    with pytest.raises(CallLostError):
        await scene.score(first)
    scene.workers[0].trailer = ()
    with pytest.raises(UnavailableError) as caught:
        await scene.score(first)
    assert type(caught.value) is UnavailableError


async def test_a_worker_without_reports_is_balanced_on_its_calls(scene, many_workers):
    first, second = await scene.add(), await scene.add(many_workers.Orca())
    scene.names.say(first, second)
    await scene.until_chosen(first, second)
    assert (await scene.score(first)).shape == (1, 3)


async def test_a_worker_that_falls_silent_is_left_within_a_second_and_used_again(scene, many_workers):
    reports = [many_workers.Orca(), many_workers.Orca()]
    first, second = await scene.add(reports[0]), await scene.add(reports[1])
    scene.names.say(first, second)
    await scene.until_chosen(first, second)
    reports[0].is_open.clear()
    await scene.until_chosen(second, timeout_s=1.0)
    reports[0].is_open.set()
    await scene.until_chosen(first, second)


@pytest.mark.usefixtures("quick")
async def test_silence_of_all_workers_stops_nothing(scene, many_workers):
    reports = many_workers.Orca()
    first = await scene.add(reports)
    scene.names.say(first)
    await scene.until_chosen(first)
    scene.workers[0].is_open.clear()
    call = asyncio.ensure_future(scene.score(first))
    await scene.workers[0].was_called.wait()
    reports.is_open.clear()
    await scene.eventually(lambda: scene.table._workers[first].is_silent)
    assert scene.chosen() == {first}
    reports.is_open.set()
    await scene.eventually(lambda: not scene.table._workers[first].is_silent)
    scene.workers[0].is_open.set()
    assert (await call).shape == (1, 3)


@pytest.mark.usefixtures("quick")
async def test_a_reports_stream_that_breaks_is_no_silence(scene, many_workers):
    """What WatchLoaded says holds: the worker is there."""
    reports = many_workers.Orca()
    first, second = await scene.add(reports), await scene.add()
    scene.names.say(first, second)
    await scene.until_chosen(first, second)
    reports.load = None
    reports.report = lambda: (_ for _ in ()).throw(UnavailableError("gone"))
    reports.is_open.clear()
    await scene.until_chosen(second)
    reports.is_open.set()
    await scene.until_chosen(first, second)
