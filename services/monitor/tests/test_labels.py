# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""No feedback makes a report unreadable, and what is merged is counted."""

import random
from collections import Counter

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc as pb_grpc
from dragoman_common.server import Service
from dragoman_common.testing import running
from dragoman_events.memory import MemoryEventLog
from dragoman_monitor.contracts import MINUTE_US, RULES, START_US, batch, label, prediction
from dragoman_monitor.counts import CONFUSION, LABEL
from dragoman_monitor.labels import MAX_OTHER_LABELS, Labels
from dragoman_monitor.matrix import OTHER, Matrix
from dragoman_monitor.measures import Measures
from dragoman_monitor.memory import MemoryMonitorStore
from dragoman_monitor.prediction import MAX_LABEL_CHARS
from dragoman_monitor.servicer import POLICY, MonitorServicer

NUM_LABELS = 9_000
LIMIT_BYTES = 4 * 1024 * 1024


def counters(cells):
    counts = Counter({(CONFUSION, *cell): count for cell, count in cells.items()})
    for (_, predicted), count in cells.items():
        counts[LABEL, predicted, ""] += count
    return counts


async def report(store, *, max_bytes=LIMIT_BYTES, **request):
    servicer = MonitorServicer(store, MemoryEventLog(), RULES, max_windows=10_000, max_bytes=max_bytes)
    service = Service(register=pb_grpc.add_MonitorServiceServicer_to_server, servicer=servicer)
    async with (
        running([service], POLICY, name="monitor") as server,
        server.channel("operator", tenant="acme") as channel,
    ):
        return await pb_grpc.MonitorServiceStub(channel).GetReport(pb.GetReportRequest(model="r8", **request))


def longest(number):
    """A different label of as many bytes as a label can have."""
    return f"{number:06d}".ljust(MAX_LABEL_CHARS, "\U0001f600")


@pytest.fixture(scope="module")
def flooded():
    """Good rows of two classes, and 9,000 rows whose feedback is a different label each."""
    store = MemoryMonitorStore(RULES)
    rows = [prediction(f"r-{n}", label=("earn", "acq")[n % 2]) for n in range(NUM_LABELS + 1000)]
    labels = [label(f"r-{n}", text=longest(n)) for n in range(NUM_LABELS)]
    labels += [label(f"r-{n}", text=("earn", "acq")[n % 2]) for n in range(NUM_LABELS, NUM_LABELS + 1000)]
    store.apply(batch(*rows))
    store.apply(batch(*labels, topic="contract.labels"))
    return store


async def test_nine_thousand_labels_leave_the_report_readable_and_say_so(flooded):
    total = (await report(flooded)).versions[0].total
    assert total.num_labelled == sum(cell.count for cell in total.confusion) == NUM_LABELS + 1000
    bounds = total.label_bounds
    assert (bounds.num_unanswered_labels, bounds.num_unanswered) == (NUM_LABELS, NUM_LABELS)
    assert bounds.num_merged_true_labels == bounds.num_merged_true == NUM_LABELS - MAX_OTHER_LABELS
    merged = [cell for cell in total.confusion if cell.true_is_other]
    assert sum(cell.count for cell in merged) == NUM_LABELS - MAX_OTHER_LABELS
    assert {(cell.true_label, cell.predicted_label) for cell in merged} == {("other", "acq"), ("other", "earn")}
    assert len(total.confusion) == 2 + MAX_OTHER_LABELS + 2
    # The two classes that the version has are found always, whatever the rest of the feedback says.
    assert total.answered_macro_recall == 1.0
    assert total.macro_recall == 2 / (2 + MAX_OTHER_LABELS + 1)


async def test_a_flooded_report_with_windows_is_readable_too(flooded):
    (version,) = (await report(flooded, with_windows=True)).versions
    assert [window.measures for window in version.windows] == [version.total]


@pytest.mark.parametrize("max_bytes", [1_500, 3_000, 20_000])
async def test_a_report_that_would_not_fit_shows_fewer_labels_and_equal_sums(flooded, max_bytes):
    whole, small = (await report(flooded)), (await report(flooded, max_bytes=max_bytes))
    assert small.ByteSize() <= max_bytes < whole.ByteSize()
    total = small.versions[0].total
    assert sum(cell.count for cell in total.confusion) == total.num_labelled == whole.versions[0].total.num_labelled
    assert total.accuracy == whole.versions[0].total.accuracy
    assert total.macro_recall == whole.versions[0].total.macro_recall


async def test_a_model_of_many_long_labels_is_readable():
    store = MemoryMonitorStore(RULES)
    names = [longest(n) for n in range(4_096)]
    store.apply(batch(*(prediction(f"r-{n}", label=name) for n, name in enumerate(names))))
    rng = random.Random(3)
    store.apply(batch(*(label(f"r-{n}", text=rng.choice(names)) for n in range(4_096)), topic="contract.labels"))
    answer = await report(store)
    total = answer.versions[0].total
    assert answer.ByteSize() <= LIMIT_BYTES
    assert sum(cell.count for cell in total.confusion) == 4_096
    shown = sum(total.predictions_by_label.values())
    assert shown + total.label_bounds.num_merged_predicted == 4_096
    assert len(total.predictions_by_label) + total.label_bounds.num_merged_predicted_labels == 4_096
    assert any(cell.predicted_is_other for cell in total.confusion)


async def test_what_cannot_fit_without_labels_is_refused_with_what_to_do():
    store = MemoryMonitorStore(RULES)
    store.apply(batch(*(prediction(f"r-{n}", accept_time_us=START_US + n * MINUTE_US) for n in range(100))))
    with pytest.raises(grpc.aio.AioRpcError, match="narrow start_time") as refused:
        await report(store, max_bytes=3_000, with_windows=True)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_the_most_frequent_others_stand_on_their_own_and_ties_are_settled_by_name():
    cells = {(f"x{n:03d}", "a"): 1 for n in range(MAX_OTHER_LABELS + 5)} | {("z", "a"): 2, ("a", "a"): 9}
    labels = Labels.of(counters(cells))
    assert labels.answered == ("a",)
    assert labels.other[:3] == ("z", "x000", "x001")
    assert labels.standing() == {"a", "z"} | {f"x{n:03d}" for n in range(MAX_OTHER_LABELS - 1)}


def test_a_label_named_other_stays_apart_from_the_merged_ones():
    cells = {("other", "other"): 5, ("a", "other"): 2, ("b", "other"): 1}
    counts = counters(cells)
    measures = Measures(counts, Labels.of(counts))
    matrix = Matrix.of(measures, measures.labels.shown(1))
    assert matrix.cells == {("other", "other"): 5, ("a", "other"): 2, (OTHER, "other"): 1}


CELLS = st.dictionaries(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcd")), st.integers(1, 9), min_size=1, max_size=20
)


@settings(max_examples=60, deadline=None)
@given(CELLS, st.integers(0, 5), st.randoms(use_true_random=False))
def test_equal_counters_in_any_order_are_merged_equally_and_nothing_is_lost(cells, max_labels, rng):
    items = list(counters(cells).items())
    results = []
    for _ in range(2):
        rng.shuffle(items)
        counts = Counter(dict(items))
        measures = Measures(counts, Labels.of(counts))
        results.append((Matrix.of(measures, measures.labels.shown(max_labels)), measures.macro_recall))
    assert results[0] == results[1]
    matrix = results[0][0]
    assert sum(matrix.cells.values()) == sum(cells.values())
    assert len(matrix.cells) <= (2 * max_labels + 1) * (max_labels + 1)
    assert sum(matrix.predictions_by_label.values()) + matrix.num_merged_predicted == sum(cells.values())
