# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What each durability promises, while the log is there, away, silent, or full of what waits for it."""

import asyncio
import logging
import threading
from contextlib import suppress

import pytest

from dragoman_common.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    OverloadedError,
    UnavailableError,
)
from dragoman_events.memory import MemoryEventLog
from dragoman_events.ports import Message
from dragoman_gateway.durability import Mode
from dragoman_gateway.group_commit import Outgoing
from dragoman_gateway.outbox import Outbox
from dragoman_gateway.spool import Spool
from dragoman_gateway.spool_alarm import SpoolAlarm

TOPIC = "dragoman.predictions"


def events(*names, topic=TOPIC):
    return [
        Outgoing(topic=topic, message=Message(key=b"k", headers={"ce_id": name.encode()}, value=name.encode()))
        for name in names
    ]


class Broker(MemoryEventLog):
    """A log that is away, that is silent, that refuses some, or that fails after it has written."""

    def __init__(self):
        super().__init__()
        self.is_away = False
        self.refused = set()
        self.answers = threading.Event()
        self.answers.set()
        self.num_writes = 0
        self.on_written = None

    def write(self, topic, messages):
        self.num_writes += 1
        if not self.answers.wait(30):
            raise AssertionError("the test let a write hang")
        if self.is_away:
            raise UnavailableError("no route to the broker")
        if any(message.value.decode() in self.refused for message in messages):
            raise InvalidArgumentError("the message is too large")
        offsets = super().write(topic, messages)
        if self.on_written:
            self.on_written()
        return offsets

    def ids(self, topic=TOPIC):
        return [record.headers["ce_id"].decode() for record in self.read(topic, 0, 10_000)]


class Box:
    """A running outbox over that broker and a real spool."""

    def __init__(self, broker, folder, *, max_spooled_events=100, ack_timeout_s=5.0, with_spool=True):
        self.broker = broker
        self.spool = Spool(folder) if with_spool else None
        self.alarm = SpoolAlarm(max_spooled_events)
        self.left_s, self.dropped = None, []
        self.outbox = Outbox(
            broker,
            self.spool,
            self.alarm,
            max_pending_events=1_000,
            max_spooled_events=max_spooled_events,
            ack_timeout_s=ack_timeout_s,
            remaining_s=lambda: self.left_s,
            on_dropped=self.dropped.append,
        )

    async def __aenter__(self):
        self._running = asyncio.ensure_future(self.outbox.run())
        return self

    async def __aexit__(self, *_):
        self.broker.answers.set()
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        if self.spool:
            self.spool.close()

    async def record(self, *names, mode=Mode.ACKED):
        await self.outbox.record(events(*names), mode)

    async def drained(self):
        async with asyncio.timeout(20):
            while True:
                if not self.outbox.num_spooled_events:
                    return
                await asyncio.sleep(0.01)


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def box(broker, tmp_path):
    def make(**settings):
        return Box(broker, tmp_path / "spool", **settings)

    return make


async def test_acked_is_in_the_log_when_record_returns_and_touches_no_spool(box, broker):
    async with box() as made:
        await made.record("a", "b")
        assert broker.ids() == ["a", "b"]
        assert made.spool.num_events() == 0


async def test_spooled_is_on_disk_when_record_returns_however_silent_the_log_is(box, broker):
    broker.answers.clear()
    async with box() as made:
        await made.record("a", mode=Mode.SPOOLED)
        assert made.spool.num_events() == 1
        assert broker.ids() == []
        broker.answers.set()
        await made.drained()
        assert broker.ids() == ["a"]
        assert made.spool.num_events() == 0


async def test_acked_goes_to_disk_while_the_log_is_away_and_follows_when_it_is_back(box, broker):
    broker.is_away = True
    async with box() as made:
        for name in "abc":
            await made.record(name)
        assert made.spool.num_events() == 3
        broker.is_away = False
        await made.drained()
        assert broker.ids() == ["a", "b", "c"]
        await made.record("d")
        assert broker.ids()[-1] == "d"
        assert made.spool.num_events() == 0


async def test_while_the_log_is_known_to_be_away_no_call_waits_for_it(box, broker, caplog):
    async with box(ack_timeout_s=0.2) as made:
        broker.answers.clear()
        with caplog.at_level(logging.WARNING):
            await made.record("a")
            num_writes = broker.num_writes
            for name in "bcdefgh":
                await made.record(name)
        # At most the replay is at it meanwhile, with one write that hangs.
        assert broker.num_writes - num_writes <= 1
        assert [line.message for line in caplog.records] == ["the event log is away; events wait in the spool"]
        broker.answers.set()
        await made.drained()
        # "a" was on its way when it was given up: it may be there twice, with its one id.
        assert set(broker.ids()) == set("abcdefgh")


async def test_a_caller_in_a_hurry_is_spooled_in_time_and_proves_nothing_about_the_log(box, broker):
    async with box() as made:
        broker.answers.clear()
        made.left_s = 0.2
        started_s = asyncio.get_running_loop().time()
        await made.record("a")
        assert asyncio.get_running_loop().time() - started_s < 1.0
        assert not made.alarm.is_away


async def test_without_a_spool_a_log_that_is_away_fails_the_call(box, broker):
    broker.is_away = True
    async with box(with_spool=False) as made:
        with pytest.raises(UnavailableError, match="no answer is given without its event"):
            await made.record("a")
        broker.is_away = False
        await made.record("b")
        assert broker.ids() == ["b"]


async def test_a_full_spool_refuses_with_a_delay_says_so_once_and_recovers_by_itself(box, broker, caplog):
    broker.is_away = True
    async with box(max_spooled_events=10) as made:
        with caplog.at_level(logging.WARNING):
            for number in range(5):
                await made.record(f"{number}a", f"{number}b", mode=Mode.SPOOLED)
            for _ in range(3):
                with pytest.raises(OverloadedError, match="retry after the delay") as refused:
                    await made.record("x", mode=Mode.SPOOLED)
                assert refused.value.retry_after_s == 5.0
            for mode in Mode:
                with pytest.raises(OverloadedError):
                    made.outbox.check_room(mode)
            made.outbox.note(events("y", "z"), Mode.SPOOLED)
            assert made.dropped == [2]
            broker.is_away = False
            await made.drained()
            made.outbox.check_room(Mode.SPOOLED)
        await made.record("n", mode=Mode.SPOOLED)
        await made.drained()
        assert broker.ids() == [*(f"{number}{row}" for number in range(5) for row in "ab"), "n"]
    said = [line.message for line in caplog.records]
    assert said.count("the event spool is full: calls are refused until the event log takes events again") == 1
    assert said.count("the event spool has room again") == 1


async def test_a_full_spool_turns_no_acked_call_away_while_the_log_takes_events(box, broker):
    async with box(max_spooled_events=1) as made:
        with pytest.raises(OverloadedError):
            await made.record("a", "b", mode=Mode.SPOOLED)
        made.outbox.check_room(Mode.ACKED)
        await made.record("c", "d")
        assert broker.ids() == ["c", "d"]


async def test_what_a_process_left_behind_is_replayed_by_the_next(box, broker):
    broker.is_away = True
    async with box() as made:
        await made.record("a", mode=Mode.SPOOLED)
        await made.outbox.record(events("f", topic="dragoman.feedback"), Mode.SPOOLED)
    broker.is_away = False
    async with box() as made:
        assert made.outbox.num_spooled_events in (1, 2)
        await made.drained()
    assert (broker.ids(), broker.ids("dragoman.feedback")) == (["a"], ["f"])


async def test_events_written_and_not_dropped_come_again_with_the_same_ids(box, broker, monkeypatch):
    async with box() as made:
        drop = made.spool.drop
        failures = [UnavailableError("disk full")]

        def failing(batch):
            if failures:
                raise failures.pop()
            drop(batch)

        monkeypatch.setattr(made.spool, "drop", failing)
        await made.record("a", mode=Mode.SPOOLED)
        await made.drained()
    assert broker.ids() == ["a", "a"]


async def test_an_event_that_the_log_will_never_take_holds_nobody_up(box, broker, caplog):
    broker.refused = {"b"}
    broker.answers.clear()
    async with box() as made:
        await made.record("a", "b", "c", mode=Mode.SPOOLED)
        broker.answers.set()
        with caplog.at_level(logging.ERROR):
            await made.drained()
    assert broker.ids() == ["a", "c"]
    (line,) = caplog.records
    assert (line.event_id, line.reason) == ("b", "the message is too large")


async def test_a_spool_that_cannot_be_written_fails_the_call_and_leaks_no_room(box, broker, monkeypatch):
    async with box(max_spooled_events=1) as made:

        def full(*_):
            raise UnavailableError("the disk is full")

        monkeypatch.setattr(made.outbox._to_spool, "_write_to", full)
        for _ in range(3):
            with pytest.raises(UnavailableError, match="event spool is away"):
                await made.record("a", mode=Mode.SPOOLED)
        assert made.outbox.num_spooled_events == 0


async def test_a_caller_that_leaves_takes_nobodys_event_and_no_room_with_it(box, broker):
    broker.answers.clear()
    async with box() as made:
        callers = [asyncio.ensure_future(made.record(name, mode=Mode.SPOOLED)) for name in "ab"]
        await asyncio.sleep(0)
        callers[0].cancel()
        await callers[1]
        broker.answers.set()
        await made.drained()
    assert set(broker.ids()) >= {"b"}


def test_a_spool_belongs_to_one_process(tmp_path):
    first = Spool(tmp_path / "deep" / "spool")
    with pytest.raises(FailedPreconditionError, match="another running gateway"):
        Spool(tmp_path / "deep" / "spool")
    first.close()
    Spool(tmp_path / "deep" / "spool").close()


def test_a_damaged_spool_is_not_replaced_in_silence(tmp_path):
    Spool(tmp_path).close()
    path = tmp_path / "spool.db"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises((DataLossError, FailedPreconditionError)):
        Spool(tmp_path)
    assert path.read_bytes().startswith(b"\xff")
