# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The group commit: durable before return, one write for many, bounded, and no caller at another's mercy."""

import asyncio
import threading
from contextlib import suppress

import pytest

from dragoman_common.errors import UnavailableError
from dragoman_events.memory import MemoryEventLog
from dragoman_events.ports import Message
from dragoman_gateway.group_commit import GroupCommit, Outgoing


def outgoing(name, topic="t"):
    return [Outgoing(topic=topic, message=Message(key=name.encode(), value=name.encode()))]


class GatedLog(MemoryEventLog):
    """A log whose writes wait for the test, and fail where it says so."""

    def __init__(self):
        super().__init__()
        self.started, self.gate = threading.Semaphore(0), threading.Semaphore(0)
        self.writes = []
        self.failure = None

    def write(self, topic, messages):
        self.started.release()
        self.gate.acquire()
        if self.failure:
            raise self.failure
        self.writes.append([message.value.decode() for message in messages])
        return super().write(topic, messages)


class Box:
    def __init__(self, log, max_pending_events=100):
        self.dropped = []
        self.written = []
        self.outbox = GroupCommit(
            log.write,
            name="event log",
            max_pending_events=max_pending_events,
            on_dropped=self.dropped.append,
            on_written=lambda num_events, is_written: self.written.append((num_events, is_written)),
        )

    async def __aenter__(self):
        self._running = asyncio.ensure_future(self.outbox.run())
        return self

    async def __aexit__(self, *_):
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running


async def until_started(log):
    await asyncio.to_thread(log.started.acquire)


async def test_an_event_is_in_the_log_when_record_returns():
    log = MemoryEventLog()
    async with Box(log) as box:
        await box.outbox.record(outgoing("a"))
        assert [record.value for record in log.read("t", 0, 10)] == [b"a"]


async def test_calls_that_come_during_a_write_go_down_together():
    log = GatedLog()
    async with Box(log) as box:
        first = asyncio.ensure_future(box.outbox.record(outgoing("a")))
        await until_started(log)
        others = [asyncio.ensure_future(box.outbox.record(outgoing(name))) for name in "bcd"]
        await asyncio.sleep(0)
        assert not first.done()
        log.gate.release(2)
        await asyncio.gather(first, *others)
    assert log.writes == [["a"], ["b", "c", "d"]]


async def test_a_cancelled_caller_leaves_its_group_intact():
    log = GatedLog()
    async with Box(log) as box:
        callers = [asyncio.ensure_future(box.outbox.record(outgoing(name))) for name in "ab"]
        await until_started(log)
        callers[0].cancel()
        log.gate.release(1)
        await callers[1]
        with pytest.raises(asyncio.CancelledError):
            await callers[0]
        log.gate.release(1)
        await box.outbox.record(outgoing("c"))


@pytest.mark.parametrize("failure", [UnavailableError("disk full"), RuntimeError("a defect")])
async def test_a_failed_write_fails_its_group_only(failure):
    log = GatedLog()
    log.failure = failure
    async with Box(log) as box:
        failing = [asyncio.ensure_future(box.outbox.record(outgoing(name))) for name in "ab"]
        await until_started(log)
        log.gate.release(1)
        results = await asyncio.gather(*failing, return_exceptions=True)
        assert [type(result) for result in results] == [UnavailableError, UnavailableError]
        assert "disk full" not in str(results[0])
        assert box.written == [(1, False), (1, False)] or box.written == [(2, False)]
        log.failure = None
        log.gate.release(1)
        await box.outbox.record(outgoing("c"))


async def test_too_many_waiting_events_are_refused_at_once():
    log = GatedLog()
    async with Box(log, max_pending_events=2) as box:
        waiting = [asyncio.ensure_future(box.outbox.record(outgoing(name))) for name in "ab"]
        await until_started(log)
        with pytest.raises(UnavailableError, match="keep up"):
            await box.outbox.record(outgoing("c"))
        box.outbox.note(outgoing("d"))
        assert box.dropped == [1]
        log.gate.release(1)
        await asyncio.gather(*waiting)
        log.gate.release(1)
        await box.outbox.record(outgoing("e"))


async def test_a_note_is_written_without_waiting_and_its_loss_is_counted():
    log = GatedLog()
    async with Box(log) as box:
        box.outbox.note(outgoing("a"))
        await until_started(log)
        log.gate.release(2)
        await box.outbox.record(outgoing("b"))
        assert log.writes == [["a"], ["b"]]
        log.failure = UnavailableError("away")
        box.outbox.note(outgoing("c"))
        log.gate.release(1)
        await until_started(log)
        await until_started(log)
    assert box.dropped == [1]


async def test_what_is_pending_at_the_end_is_written():
    log = GatedLog()
    async with Box(log) as box:
        box.outbox.note(outgoing("a"))
        await until_started(log)
        box.outbox.note(outgoing("b"))
        log.gate.release(2)
    assert log.writes == [["a"], ["b"]]


async def test_topics_are_written_apart():
    log = MemoryEventLog()
    async with Box(log) as box:
        await asyncio.gather(box.outbox.record(outgoing("a", "x")), box.outbox.record(outgoing("b", "y")))
    assert [len(log.read(topic, 0, 10)) for topic in ("x", "y")] == [1, 1]
