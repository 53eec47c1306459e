# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Group commit in front of a log on disk or network: events of concurrent calls go down together.

    record() of many calls -> pending -> [one writer: write(topic, messages)] -> durable -> every call continues

While one write is on its way the next group gathers behind it, so there is no timer and a lone call waits for nobody.
Bounded: when too many events wait, callers are refused at once. At least once: a call that was refused, or that went
away, may still have its events in the log; readers de-duplicate by event id.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dragoman_common.errors import DragomanError, UnavailableError
from dragoman_events.ports import Message

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    topic: str
    message: Message


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    outgoing: Sequence[Outgoing]
    done: asyncio.Future[None]


class Written(Protocol):
    def __call__(self, num_events: int, *, is_written: bool) -> None:
        """Take note that a group was written, or was not."""


class GroupCommit:
    """One writer. `run` must be running for `record` to return; it is cancelled by whoever started it."""

    def __init__(
        self,
        write: Callable[[str, Sequence[Message]], object],
        *,
        name: str,
        max_pending_events: int,
        on_dropped: Callable[[int], None],
        on_written: Written | None = None,
    ) -> None:
        """Set up; nothing is written before `run`.

        Args:
            write: durable on return; it blocks, so it runs in a thread, one call at a time.
            name: what it writes to, for people.
            max_pending_events: bounds memory while writing is slow.
            on_dropped: told how many events of unwaited-for records were lost.
            on_written: told of each group, also of what callers no longer wait for.
        """
        self._write_to = write
        self._name = name
        self._on_written = on_written
        self._max_pending_events = max_pending_events
        self._on_dropped = on_dropped
        self._pending: list[_Entry] = []
        self._num_pending = 0
        self._wake = asyncio.Event()

    async def record(self, outgoing: Sequence[Outgoing]) -> None:
        """Write events; they are durable on return.

        Raises:
            UnavailableError: they were not acknowledged by the log, or too many wait already.
        """
        # Shielded by a future of its own: a caller that goes away disturbs nobody in its group.
        await self._submit(outgoing)

    def note(self, outgoing: Sequence[Outgoing]) -> None:
        """Write events soon, without waiting. Never raises; what cannot be kept is counted as dropped."""
        try:
            done = self._submit(outgoing)
        except UnavailableError:
            self._on_dropped(len(outgoing))
            return
        done.add_done_callback(lambda done: self._note_result(done, len(outgoing)))

    async def run(self) -> None:
        """Write until cancelled; what is pending then is written before this returns."""
        writing: asyncio.Future[None] | None = None
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                # A task of its own: being cancelled must not leave a group written and its callers waiting.
                writing = asyncio.ensure_future(self._flush())
                await asyncio.shield(writing)
        finally:
            if writing is not None:
                await writing
            await self._flush()

    def _submit(self, outgoing: Sequence[Outgoing]) -> asyncio.Future[None]:
        if self._num_pending + len(outgoing) > self._max_pending_events:
            raise UnavailableError(
                f"the {self._name} does not keep up, and no answer is given without its event; try again"
            )
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append(_Entry(outgoing=outgoing, done=done))
        self._num_pending += len(outgoing)
        self._wake.set()
        return done

    async def _flush(self) -> None:
        entries, self._pending = self._pending, []
        if not entries:
            return
        failure: DragomanError | None = None
        try:
            await asyncio.to_thread(self._write, entries)
        except DragomanError as error:
            _logger.warning(
                "events not written",
                extra={"to": self._name, "num_calls": len(entries), "reason": error.message},
            )
            failure = UnavailableError(f"the {self._name} is away, and no answer is given without its event; try again")
        except Exception:
            # A defect must fail this group and not the writer, or every later call would wait for ever.
            _logger.exception("events not written", extra={"to": self._name, "num_calls": len(entries)})
            failure = UnavailableError("the event could not be written, and no answer is given without it; try again")
        self._settle(entries, failure)

    def _write(self, entries: Sequence[_Entry]) -> None:
        by_topic: dict[str, list[Message]] = {}
        for entry in entries:
            for outgoing in entry.outgoing:
                by_topic.setdefault(outgoing.topic, []).append(outgoing.message)
        for topic, messages in by_topic.items():
            self._write_to(topic, messages)

    def _settle(self, entries: Sequence[_Entry], error: DragomanError | None) -> None:
        if self._on_written is not None:
            self._on_written(sum(len(entry.outgoing) for entry in entries), is_written=error is None)
        for entry in entries:
            self._num_pending -= len(entry.outgoing)
            # A caller that went away has cancelled its own future.
            if entry.done.done():
                continue
            if error is None:
                entry.done.set_result(None)
            else:
                entry.done.set_exception(error)

    def _note_result(self, done: asyncio.Future[None], num_events: int) -> None:
        if not done.cancelled() and done.exception() is not None:
            self._on_dropped(num_events)
