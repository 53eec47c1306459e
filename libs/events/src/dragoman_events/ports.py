# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The event log as its users see it, whatever keeps it (SQLite on a laptop, Kafka in a cluster).

Concepts, in the order in which they are met:

topic      A named, append-only list of messages. It exists as soon as somebody writes to it or reads it.
partition  A topic is one or more lists, numbered from 0. Messages with equal keys land in the same partition and keep
           their order; between partitions there is no order. The SQLite log has one partition per topic: 0. On Kafka
           topics.py says how many, and a key's partition is the one that every Kafka client would choose.
offset     A message's place in its partition: integers that only grow and are never used twice. They may have gaps
           (old messages are dropped by retention), so "the next offset" is a bound and not a message that must exist.
           A position whose message was dropped unread is told to its consumer (``OffsetOutOfRangeError``), never
           passed over in silence.
group      A name under which consumers share the work. Each partition is read by one consumer of a group at a time,
           as far as the log can see: one that was paused, and was taken for dead, may still be working on what it had.
position   The offset that a consumer's next ``poll`` starts from. It lives in the consumer and moves with every poll.
committed  The offset that a group starts from after a restart. It lives in the log and moves only with ``commit``.

**At least once.** An append that returned is on disk (or acknowledged by every replica asked for). An append that
raised may be in the log or not, and whoever repeats it may write it twice. A consumer that dies between its work and
its commit meets the same messages again. So *whoever consumes must de-duplicate*, by the CloudEvent's id or by a key
of its own domain, and a consumer with a database stores its offsets there, in the transaction of its rows, compares
them there ("fencing"), starts from them with ``seek``, and uses ``commit`` only to tell the log how far it is.

    append -> [partition 0: 0 1 2 3 4 5 6 7] <- end offset 8
                              ^        ^
                       committed 3     position 6        lag = end - committed = 5

**Threads.** An ``EventLog`` may be used from several threads. A ``Consumer`` belongs to one thread at a time. Every
method may block on the disk or the network: asyncio code calls them in a worker thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dragoman_common.errors import FailedPreconditionError
from dragoman_events.cloud_event import CloudEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is written: a key (chooses the partition), headers and a value that the log never looks into."""

    key: bytes
    headers: Mapping[str, bytes] = field(default_factory=dict)
    value: bytes = b""

    @classmethod
    def of(cls, key: bytes, event: CloudEvent) -> "Message":
        """The message that carries a CloudEvent in binary mode.

        Its trace context stands there twice: as CloudEvents has it (``ce_traceparent``), and as tracing libraries look
        for it in a message (W3C ``traceparent``).
        """
        headers = event.to_headers()
        if traceparent := event.extensions.get("traceparent"):
            headers["traceparent"] = traceparent.encode()
        return cls(key=key, headers=headers, value=event.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is read: a message and its place. A message without key or value reads as empty bytes."""

    topic: str
    partition: int = 0
    offset: int
    key: bytes
    headers: Mapping[str, bytes]
    value: bytes

    def event(self) -> CloudEvent:
        """The CloudEvent in this record.

        Raises:
            InvalidArgumentError: the headers are not those of a CloudEvent 1.0 in binary mode.
        """
        return CloudEvent.from_headers(self.headers, self.value)


class OffsetOutOfRangeError(FailedPreconditionError):
    """A consumer's position is not in the log: what stood there was dropped, or the log is another one.

    The position stays. Whoever consumes decides and counts: ``seek`` to ``oldest`` goes on with what is left.
    """

    def __init__(self, topic: str, partition: int, position: int, *, oldest: int, end: int) -> None:
        super().__init__(
            f"{topic}/{partition} has no offset {position}: it holds {oldest} to {end}. "
            "Events were dropped before they were read, or the log was replaced."
        )
        self.topic = topic
        self.partition = partition
        self.position = position
        self.oldest = oldest
        """The oldest offset that may still be read."""
        self.end = end
        """The offset that the next message will get."""


class Consumer(Protocol):
    """One reader of one topic in one group. Starts from the group's committed offsets, else from the oldest message."""

    def poll(self, max_records: int, timeout_s: float = 0.0) -> list[Record]:
        """The next messages, in offset order within each partition; moves the position behind them.

        Blocks for at most ``timeout_s`` while there is nothing to read, then returns an empty list. Returns as soon as
        there is at least one message: it does not wait for ``max_records``.

        What a consumer that reads ahead had fetched before it was dropped is still handed over. A log that waits out
        its own outages (Kafka) returns nothing meanwhile, and goes on where it was.

        Raises:
            OffsetOutOfRangeError: the position is before the oldest message kept, or behind the end.
            UnavailableError: the log cannot be reached; the position is unchanged and the poll may be repeated.
        """
        ...

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Move the positions of these partitions; the next poll starts there. Does not touch what is committed.

        A partition that this consumer does not read now starts there if the group hands it over later.
        """
        ...

    def commit(self, offsets: Mapping[int, int] | None = None) -> None:
        """Let the group start from these offsets (partition -> next offset) after a restart; durable on return.

        Without an argument: the positions, which says that all that was polled is done with. Partitions that are no
        longer this consumer's are passed over: whoever has them now says how far they are.

        Raises:
            UnavailableError: nothing was committed, or the reply was lost; repeating is harmless.
        """
        ...

    def committed(self) -> dict[int, int]:
        """What the group has committed, per partition; a partition without a commit is absent."""
        ...

    def close(self) -> None:
        """Leave the group and free what is held; commits nothing. Idempotent."""
        ...


class EventLog(Protocol):
    """Append-only topics. See the module's text for the words and for what is promised."""

    def append(self, topic: str, key: bytes, events: Sequence[CloudEvent]) -> list[int]:
        """Append events of one key, in order; durable on return.

        All or none of them on a log with one partition; on others a failure may leave some written.

        Returns:
            Their offsets (in the key's partition), in the order given.

        Raises:
            UnavailableError: the log is busy, full or away: nothing was acknowledged (see "at least once").
            InvalidArgumentError: a message is larger than the log takes; again would not help.
        """
        ...

    def write(self, topic: str, messages: Sequence[Message]) -> list[int]:
        """Append messages of any keys; durable on return. One call is one group commit: many cost little more than one.

        All or none on a log with one partition; on others a failure may leave some written.

        Returns:
            Their offsets, each in its key's partition, in the order given.

        Raises:
            UnavailableError: as ``append``.
        """
        ...

    def read(self, topic: str, offset: int, max_records: int, *, partition: int = 0) -> list[Record]:
        """Up to ``max_records`` from ``offset`` on, without a group: for looking, recomputing, following.

        An offset before the oldest message kept starts at the oldest; one behind the end reads as nothing.

        Raises:
            UnavailableError: the log cannot be reached.
        """
        ...

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Per partition, the offset that the next message will get. An unknown topic has partition 0 and end 0."""
        ...

    def consumer(self, topic: str, group: str) -> Consumer:
        """A reader of ``topic`` in ``group``; close it when done."""
        ...

    def close(self) -> None:
        """Free what is held. Idempotent; nothing is lost, because nothing acknowledged was only in memory."""
        ...
