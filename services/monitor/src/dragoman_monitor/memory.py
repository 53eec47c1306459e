# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The books in memory: the fake for tests, held by the same contract as the real ones. Keeps nothing on disk."""

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping

from dragoman_monitor.counts import USAGE, Counted, CountingRules, Counts
from dragoman_monitor.dead_letter import DeadLetter
from dragoman_monitor.join import EXPIRED, UNJOINED, Batch, Known, TallyKey, join
from dragoman_monitor.ports import FencedError, Query, Send, Series, Snapshot
from dragoman_monitor.prediction import Label, RowKey
from dragoman_monitor.usage import UsageQuery, UsageSum
from dragoman_monitor.window import WindowKey


class MemoryMonitorStore:
    """A ``MonitorStore`` (ports.py) for one process."""

    def __init__(self, rules: CountingRules) -> None:
        self._rules = rules
        self._lock = threading.Lock()
        self._offsets: dict[tuple[str, int], int] = {}
        self._predictions: defaultdict[RowKey, dict[str, Counted]] = defaultdict(dict)
        self._labels: dict[RowKey, Label] = {}
        self._counts: defaultdict[WindowKey, Counts] = defaultdict(Counter)
        self._tallies: Counter[TallyKey] = Counter()
        self._waiting: list[DeadLetter] = []
        self._forgotten_before_us = 0

    def offsets(self, topic: str) -> Mapping[int, int]:
        with self._lock:
            return {partition: following for (name, partition), following in self._offsets.items() if name == topic}

    def apply(self, batch: Batch) -> None:
        with self._lock:
            place = (batch.topic, batch.partition)
            if self._offsets.get(place, 0) != batch.expected:
                raise FencedError(f"{batch.topic}/{batch.partition} is not at offset {batch.expected}.")
            keys = batch.row_keys()
            known = Known(
                predictions={key: self._predictions[key] for key in keys if key in self._predictions},
                labels={key: self._labels[key] for key in keys if key in self._labels},
                forgotten_before_us=self._forgotten_before_us,
            )
            outcome = join(batch, known, self._rules)
            self._offsets[place] = batch.following
            for row in outcome.predictions:
                self._predictions[row.key][row.window.arm] = row
            self._labels |= outcome.labels
            for window, counts in outcome.counts.items():
                self._counts[window].update(counts)
            self._tallies.update(outcome.tallies)
            self._waiting += batch.dead_letters

    def send_dead_letters(self, send: Send) -> int:
        with self._lock:
            if self._waiting:
                send(tuple(self._waiting))
            num_sent = len(self._waiting)
            self._waiting.clear()
            return num_sent

    def forget(self, *, predictions_before_us: int, labels_before_us: int) -> int:
        with self._lock:
            self._forgotten_before_us = max(self._forgotten_before_us, predictions_before_us)
            num_dropped = 0
            for key, arms in list(self._predictions.items()):
                old = [arm for arm, row in arms.items() if row.window.start_us < predictions_before_us]
                num_dropped += len(old)
                for arm in old:
                    del arms[arm]
                if not arms:
                    del self._predictions[key]
                    num_dropped += self._labels.pop(key, None) is not None
            waiting = [label for key, label in self._labels.items() if key not in self._predictions]
            for label in waiting:
                if label.receive_time_us < labels_before_us:
                    del self._labels[label.key]
                    self._tallies.update({(label.key.tenant, UNJOINED): -1, (label.key.tenant, EXPIRED): 1})
                    num_dropped += 1
            return num_dropped

    def tallies(self) -> Mapping[str, int]:
        with self._lock:
            tallies: Counter[str] = Counter()
            for (_, name), count in self._tallies.items():
                tallies[name] += count
            return tallies

    def snapshot(self, query: Query) -> Snapshot:
        with self._lock:
            snapshot = Snapshot(offsets=dict(self._offsets))
            for window, counts in self._counts.items():
                if _matches(window, query):
                    series = snapshot.windows.setdefault(Series(window.version, window.arm), {})
                    series[window.start_us] = Counter({key: count for key, count in counts.items() if count})
            tallies: Counter[str] = Counter()
            for (tenant, name), count in self._tallies.items():
                if tenant in ("", query.tenant):
                    tallies[name] += count
            snapshot.tallies = dict(tallies)
            return snapshot

    def usage(self, query: UsageQuery) -> list[UsageSum]:
        span_us = query.span_s * 1_000_000
        with self._lock:
            return [
                UsageSum(
                    start_us=window.start_us // span_us * span_us,
                    model=window.model,
                    version=window.version,
                    name=name,
                    count=counts[name, "", ""],
                )
                for window, counts in self._counts.items()
                if window.tenant == query.tenant and query.start_us <= window.start_us < query.end_us
                for name in USAGE
                if counts[name, "", ""]
            ]

    def close(self) -> None:
        """Nothing is held."""


def _matches(window: WindowKey, query: Query) -> bool:
    return (
        (window.tenant, window.model) == (query.tenant, query.model)
        and query.version in (None, window.version)
        and (query.start_us is None or window.start_us >= query.start_us)
        and (query.end_us is None or window.start_us < query.end_us)
    )
