# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The way of events from a call to the event log, under the durability that its tenant chose (durability.py).

    acked              -> group commit -> event log ............................................ -> OK
                            | away, or silent for too long
    spooled, sampled ----> group commit -> spool (local disk) ................................... -> OK
                                             `-> replay -> event log -> drop

Bounded on both ways: memory by the group commits, disk by `max_spooled_events`; beyond, calls are refused with a delay.
At least once: what was written twice, by a timeout or a crash, has the event id that was minted at acceptance.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from dragoman_common.errors import DragomanError, InvalidArgumentError, OverloadedError, UnavailableError
from dragoman_events.ports import EventLog
from dragoman_gateway.durability import Mode
from dragoman_gateway.group_commit import GroupCommit, Outgoing
from dragoman_gateway.spool import Spool, SpooledBatch
from dragoman_gateway.spool_alarm import SpoolAlarm

_BATCH_EVENTS = 500
_FIRST_PAUSE_S = 0.1
_MAX_PAUSE_S = 2.0
_RETRY_AFTER_S = 5.0
"""For calls that found no room: the log has to come back, and to be caught up with, first."""


class Outbox:
    """One per process. `run` must be running for `record` to return; it is cancelled by whoever started it."""

    def __init__(
        self,
        log: EventLog,
        spool: Spool | None,
        alarm: SpoolAlarm,
        *,
        max_pending_events: int,
        max_spooled_events: int,
        ack_timeout_s: float,
        remaining_s: Callable[[], float | None],
        on_dropped: Callable[[int], None],
    ) -> None:
        """Set up; nothing is written before `run`.

        Args:
            log: where events go; its methods block, so each write runs in a thread.
            spool: where they wait; without one the only mode is acked, and a log that is away fails calls.
            alarm: told what people should know.
            max_pending_events: bounds memory, for each of the two ways.
            max_spooled_events: bounds the spool.
            ack_timeout_s: how long a call waits for the log's acknowledgement before its events go to the spool.
            remaining_s: what is left of the call's time, None where it has no deadline.
            on_dropped: told how many events of unwaited-for records were lost.
        """
        self._log = log
        self._spool = spool
        self._alarm = alarm
        self._max_spooled_events = max_spooled_events
        self._ack_timeout_s = ack_timeout_s
        self._remaining_s = remaining_s
        self._on_dropped = on_dropped
        self._to_log = GroupCommit(
            log.write, name="event log", max_pending_events=max_pending_events, on_dropped=on_dropped
        )
        # Counts what waits and what is on its way into the spool, so that the bound holds for both together.
        self._num_spooled = spool.num_events() if spool else 0
        self._to_spool = GroupCommit(
            spool.write if spool else log.write,
            name="event spool",
            max_pending_events=max_pending_events,
            on_dropped=on_dropped,
            on_written=self._on_spooled,
        )
        self._spooled = asyncio.Event()
        if self._num_spooled:
            self._spooled.set()

    @property
    def num_spooled_events(self) -> int:
        """Events that are not in the log yet, as far as this process knows."""
        return self._num_spooled

    async def record(self, outgoing: Sequence[Outgoing], mode: Mode) -> None:
        """Write events; on return the mode's promise holds.

        Raises:
            UnavailableError: neither log nor spool took them.
            OverloadedError: they have to go to the spool, and it is full.
        """
        if mode is Mode.ACKED and not self._is_log_away:
            try:
                await self._acknowledged(outgoing)
            except UnavailableError:
                if self._spool is None:
                    raise
            else:
                return
        self._reserve(len(outgoing))
        await self._to_spool.record(outgoing)

    def note(self, outgoing: Sequence[Outgoing], mode: Mode) -> None:
        """Write events soon, without waiting. Never raises; what cannot be kept is counted as dropped."""
        if mode is Mode.ACKED and not self._is_log_away:
            self._to_log.note(outgoing)
            return
        try:
            self._reserve(len(outgoing))
        except (OverloadedError, UnavailableError):
            self._on_dropped(len(outgoing))
        else:
            self._to_spool.note(outgoing)

    def check_room(self, mode: Mode) -> None:
        """Refuse a call before work is done for it, where its events would find no room.

        Raises:
            OverloadedError: the spool is full, and the call's events would have to go there.
        """
        if self._alarm.is_full and (mode is not Mode.ACKED or self._is_log_away):
            raise _no_room(self._max_spooled_events)

    async def run(self) -> None:
        """Write and replay until cancelled; what is pending then is written before this returns, what waits stays."""
        ways = [self._to_log.run(), self._to_spool.run()]
        if self._spool is not None:
            ways.append(self._replay_for_ever(self._spool))
        async with asyncio.TaskGroup() as group:
            for way in ways:
                group.create_task(way)

    @property
    def _is_log_away(self) -> bool:
        # With nothing to replay nobody would find out that it is back: then calls try it themselves.
        return self._alarm.is_away and self._num_spooled > 0

    async def _acknowledged(self, outgoing: Sequence[Outgoing]) -> None:
        # Half of what is left: the other half is for the spool, and for the reply.
        left_s = self._remaining_s()
        wait_s = self._ack_timeout_s if left_s is None or self._spool is None else min(self._ack_timeout_s, left_s / 2)
        try:
            async with asyncio.timeout(wait_s if self._spool is not None else None):
                await self._to_log.record(outgoing)
        except TimeoutError as error:
            reason = f"no acknowledgement within {wait_s:g} s"
            # A caller in a hurry says nothing about the log.
            if wait_s >= self._ack_timeout_s:
                self._alarm.log_is_away(reason)
            raise UnavailableError(reason) from error
        except UnavailableError as error:
            if self._spool is not None:
                self._alarm.log_is_away(error.message)
            raise
        self._alarm.log_is_back()

    def _reserve(self, num_events: int) -> None:
        if self._spool is None:
            raise UnavailableError("the event log is away, and no answer is given without its event; try again")
        if self._num_spooled + num_events > self._max_spooled_events:
            self._alarm.refused(num_events)
            raise _no_room(self._max_spooled_events)
        self._count(num_events)

    def _on_spooled(self, num_events: int, *, is_written: bool) -> None:
        if is_written:
            self._spooled.set()
        else:
            self._count(-num_events)

    def _count(self, change: int) -> None:
        self._num_spooled += change
        self._alarm.waiting(self._num_spooled)

    async def _replay_for_ever(self, spool: Spool) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            await self._spooled.wait()
            self._spooled.clear()
            try:
                # To its end even when cancelled: a write without its drop would be repeated at the next start.
                num_replayed = await _finished(self._replay(spool))
            except DragomanError as error:
                self._alarm.log_is_away(error.message)
                self._spooled.set()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _MAX_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            self._alarm.log_is_back()
            if num_replayed:
                self._spooled.set()

    async def _replay(self, spool: Spool) -> int:
        batch = await asyncio.to_thread(spool.oldest, _BATCH_EVENTS)
        if batch is None:
            return 0
        try:
            await asyncio.to_thread(self._log.write, batch.topic, batch.messages)
        except InvalidArgumentError:
            await asyncio.to_thread(self._write_each, batch)
        await asyncio.to_thread(spool.drop, batch)
        self._count(-len(batch.messages))
        return len(batch.messages)

    def _write_each(self, batch: SpooledBatch) -> None:
        for message in batch.messages:
            try:
                self._log.write(batch.topic, [message])
            except InvalidArgumentError as error:
                self._alarm.unusable(message.headers.get("ce_id", b"").decode(errors="replace"), error.message)


async def _finished(work: Coroutine[Any, Any, int]) -> int:
    """Await work that is not cut short by a cancellation, which is raised after it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _no_room(max_events: int) -> OverloadedError:
    return OverloadedError(
        f"{max_events} events wait for the event log, the most that are kept, and no answer is given without its event;"
        " retry after the delay",
        retry_after_s=_RETRY_AFTER_S,
    )
