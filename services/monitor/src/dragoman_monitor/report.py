# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a snapshot of the books to the versions of a report, always within the size of a message.

Snapshot -> per series: counters added up, labels -> measures -> protobuf; too large: again with half as many labels
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman_common.errors import InvalidArgumentError
from dragoman_monitor import convert
from dragoman_monitor.counts import CountingRules, Counts
from dragoman_monitor.labels import MAX_SHOWN_LABELS, Labels, Shown
from dragoman_monitor.matrix import Matrix
from dragoman_monitor.measures import Measures
from dragoman_monitor.ports import Snapshot

_FRAME_BYTES: Final = 8
"""What a message takes inside of another at most: its tag and its length."""


def version_reports(
    model: str, snapshot: Snapshot, rules: CountingRules, *, with_windows: bool, max_bytes: int
) -> list[pb.VersionReport]:
    """One report per version and arm, in order.

    Args:
        model: its name, for the report.
        snapshot: what the books say.
        rules: what the counters mean.
        with_windows: whether each window is in it, too.
        max_bytes: the size that all of them must not exceed together, as protobuf.

    Raises:
        InvalidArgumentError: not even without labels does it fit: there are too many windows or versions.
    """
    max_labels = MAX_SHOWN_LABELS
    while True:
        reports: list[pb.VersionReport] = []
        num_bytes = 0
        for report, size in _reports(model, snapshot, rules, with_windows=with_windows, max_labels=max_labels):
            reports += report
            num_bytes += size
            if num_bytes > max_bytes:
                break
        else:
            return reports
        if not max_labels:
            raise InvalidArgumentError(
                f"the report does not fit into {max_bytes} bytes: name a version, narrow start_time and end_time, "
                "or ask without with_windows"
            )
        max_labels //= 2


def _reports(
    model: str, snapshot: Snapshot, rules: CountingRules, *, with_windows: bool, max_labels: int
) -> Iterator[tuple[list[pb.VersionReport], int]]:
    """The reports, and bytes as they grow: a report that is too large is given up while it is small."""
    length_us = rules.window_s * 1_000_000
    for series, windows in sorted(snapshot.windows.items()):
        total = _total(windows)
        labels = Labels.of(total)
        shown = labels.shown(max_labels)

        def to_pb(counts: Counts, labels: Labels = labels, shown: Shown = shown) -> pb.Measures:
            measures = Measures(counts, labels)
            return convert.measures_to_pb(measures, Matrix.of(measures, shown), rules)

        report = pb.VersionReport(model=model, version=series.version, arm=series.arm, total=to_pb(total))
        yield [report], report.ByteSize() + _FRAME_BYTES
        for start_us, counts in sorted(windows.items()) if with_windows else ():
            window = report.windows.add(
                start_time=convert.time_to_pb(start_us),
                end_time=convert.time_to_pb(start_us + length_us),
                measures=to_pb(counts),
            )
            yield [], window.ByteSize() + _FRAME_BYTES


def _total(windows: Mapping[int, Counts]) -> Counts:
    total: Counts = Counter()
    for counts in windows.values():
        total.update(counts)
    return total
