# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor needs of whatever keeps its books (SQLite on a laptop, Postgres in a cluster).

**The offset in the store is the truth.** A batch's rows, counters, dead letters and the new offset are written in one
transaction that begins with ``UPDATE offsets SET next = :following WHERE next = :expected``. So a crash leaves all of
a batch or nothing of it; of two consumers that read the same offsets one is told that it was not first
(``FencedError``); and the log's own committed offset may lag behind without harm, because nobody starts from it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dragoman_common.errors import AbortedError, FailedPreconditionError
from dragoman_monitor.counts import Counts
from dragoman_monitor.dead_letter import DeadLetter
from dragoman_monitor.join import Batch
from dragoman_monitor.usage import UsageQuery, UsageSum


class FencedError(AbortedError):
    """Somebody else has moved this partition's offset: read it again and go on from there."""


class OtherRulesError(FailedPreconditionError):
    """The counters were made under other rules (window, threshold, relative error) than those asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which windows a report is about: those of one tenant's model that begin in [start_us, end_us)."""

    tenant: str
    model: str
    version: int | None = None
    """None is every version."""
    start_us: int | None = None
    end_us: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """One arm of one version."""

    version: int
    arm: str


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """What the books say at one moment: counters, tallies and offsets of the same transaction."""

    windows: dict[Series, dict[int, Counts]] = field(default_factory=dict)
    """Per series: a window's start in microseconds -> its counters; none of them 0."""
    tallies: dict[str, int] = field(default_factory=dict)
    """The tenant's tallies by name (join.py); dead letters that name no tenant are among everybody's."""
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    """(topic, partition) -> next offset."""


Send = Callable[[Sequence[DeadLetter]], None]


class MonitorStore(Protocol):
    """The monitor's books. May be used from several threads; every method may block on the disk or the network."""

    def offsets(self, topic: str) -> Mapping[int, int]:
        """Per partition, the offset after the last one applied; a partition that was never read is absent (next = 0).

        Raises:
            UnavailableError: the store cannot be reached.
        """
        ...

    def apply(self, batch: Batch) -> None:
        """Write all that a batch changes, with its offset, in one transaction.

        Raises:
            FencedError: the partition is not at ``batch.expected``; nothing was written.
            UnavailableError: nothing was written, or the reply was lost; the fence makes repeating safe.
        """
        ...

    def send_dead_letters(self, send: Send) -> int:
        """Hand the letters that wait to ``send``, and take them off the list if it returns; returns how many.

        One caller at a time, across processes. When the process dies after ``send`` and before the list is updated,
        the next call hands the same letters out again: ``send`` looks for them from ``search_from`` on, first.

        Raises:
            UnavailableError: the store cannot be reached. What ``send`` raises passes through; the letters stay.
        """
        ...

    def forget(self, *, predictions_before_us: int, labels_before_us: int) -> int:
        """Drop the detail of old rows; all counters stay. Takes several short transactions.

        A prediction's row goes by the start of its window, a joined label with the last of its predictions, a label
        that waits by the time at which it was received (tally ``expired``). From then on predictions of a forgotten
        time are not counted (tally ``late``): they could be repetitions. Going back in time forgets nothing.

        Returns:
            How many rows and labels were dropped.

        Raises:
            UnavailableError: the store cannot be reached; what is left goes at the next call.
        """
        ...

    def tallies(self) -> Mapping[str, int]:
        """Every tally by name, of all tenants together.

        Raises:
            UnavailableError: the store cannot be reached.
        """
        ...

    def snapshot(self, query: Query) -> Snapshot:
        """What is known, all at one moment.

        Raises:
            UnavailableError: the store cannot be reached.
        """
        ...

    def usage(self, query: UsageQuery) -> list[UsageSum]:
        """The tenant's usage counters (counts.USAGE), added up per span, model and version, in any order.

        Raises:
            UnavailableError: the store cannot be reached.
        """
        ...

    def close(self) -> None:
        """Free what is held. Idempotent."""
        ...
