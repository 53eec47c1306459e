# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What every keeper of the books must do: one class of tests, subclassed once per adapter with a ``store`` fixture."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pytest

from dragoman_monitor.counts import CODE, CONFUSION, LABEL, CountingRules, Counts
from dragoman_monitor.dead_letter import DeadLetter
from dragoman_monitor.join import DEAD_LETTERS, DUPLICATES, EXPIRED, LATE, LOST, UNJOINED, Batch
from dragoman_monitor.ports import FencedError, MonitorStore, Query, Series
from dragoman_monitor.prediction import Label, Prediction, RowKey
from dragoman_monitor.usage import Usage, UsageQuery, usage_of

RULES: Final = CountingRules(window_s=60)
TOPIC: Final = "contract.topic"
START_US: Final = 1_772_366_400_000_000
"""2026-03-01T12:00:00Z, the start of a window."""
MINUTE_US: Final = 60_000_000


def prediction(request_id: str = "r-1", **changes: Any) -> Prediction:
    """An answered row; name what matters."""
    tenant, row = changes.pop("tenant", "acme"), changes.pop("row", 0)
    fields: dict[str, Any] = {
        "model": "r8",
        "version": 1,
        "arm": "stable",
        "code": "OK",
        "label": "earn",
        "score": 0.95,
        "num_tokens": 20,
        "num_unknown_tokens": 1,
        "is_truncated": False,
        "accept_time_us": START_US,
        "latency_ms": 2.5,
    }
    return Prediction(key=RowKey(tenant, request_id, row), **fields | changes)


def label(
    request_id: str = "r-1", text: str = "earn", *, tenant: str = "acme", row: int = 0, after_us: int = 0
) -> Label:
    """A true label."""
    return Label(key=RowKey(tenant, request_id, row), text=text, receive_time_us=START_US + after_us)


def letter(offset: int, tenant: str = "") -> DeadLetter:
    """A dead letter with bytes that are not text."""
    return DeadLetter(
        topic=TOPIC,
        partition=0,
        offset=offset,
        reason="bad bytes",
        value=b"\xff\x00",
        headers={"ce_id": b"\xfe"},
        tenant=tenant,
        reject_time_us=START_US,
        search_from={0: 7},
    )


def batch(
    *nouns: Prediction | Label, expected: int = 0, letters: Sequence[DeadLetter] = (), topic: str = TOPIC
) -> Batch:
    """A batch of as many records as nouns and letters."""
    return Batch(
        topic=topic,
        partition=0,
        expected=expected,
        following=expected + len(nouns) + len(letters),
        predictions=[noun for noun in nouns if isinstance(noun, Prediction)],
        labels=[noun for noun in nouns if isinstance(noun, Label)],
        dead_letters=letters,
    )


def counts_of(store: MonitorStore, **query: Any) -> dict[Series, Counts]:
    """Every series' counters, its windows added up."""
    snapshot = store.snapshot(Query(**{"tenant": "acme", "model": "r8"} | query))
    return {series: sum(windows.values(), start=Counter()) for series, windows in snapshot.windows.items()}


def tallies_of(store: MonitorStore, tenant: str = "acme") -> dict[str, int]:
    """The tallies that are not 0."""
    tallies = store.snapshot(Query(tenant=tenant, model="r8")).tallies
    return {name: count for name, count in tallies.items() if count}


STABLE: Final = Series(1, "stable")


class MonitorStoreContract:
    """Subclasses give a fixture ``store`` that makes empty books with ``RULES``."""

    def test_an_unread_topic_has_no_offsets(self, store: MonitorStore) -> None:
        assert store.offsets(TOPIC) == {}

    def test_a_batch_moves_the_offset_with_its_rows(self, store: MonitorStore) -> None:
        store.apply(batch(prediction("r-1"), prediction("r-2")))
        store.apply(batch(prediction("r-3"), expected=2))
        assert store.offsets(TOPIC) == {0: 3}
        assert store.offsets("contract.other") == {}
        assert counts_of(store)[STABLE][LABEL, "earn", ""] == 3

    @pytest.mark.parametrize("expected", [0, 1, 3])
    def test_a_batch_at_another_offset_is_fenced_and_writes_nothing(self, store: MonitorStore, expected: int) -> None:
        store.apply(batch(prediction("r-1"), prediction("r-2")))
        before = store.snapshot(Query(tenant="acme", model="r8"))
        with pytest.raises(FencedError):
            store.apply(batch(prediction("r-9"), label("r-1"), expected=expected, letters=[letter(9)]))
        assert store.snapshot(Query(tenant="acme", model="r8")) == before
        assert store.send_dead_letters(lambda _: None) == 0

    def test_of_two_that_read_the_same_offsets_one_wins(self, store: MonitorStore) -> None:
        outcomes: list[str] = []
        barrier = threading.Barrier(2)

        def consume() -> None:
            for expected in range(0, 40, 2):
                barrier.wait()
                try:
                    store.apply(batch(prediction(f"r-{expected}"), prediction(f"r-{expected + 1}"), expected=expected))
                    outcomes.append("won")
                except FencedError:
                    outcomes.append("fenced")

        threads = [threading.Thread(target=consume) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(outcomes) == {"won": 20, "fenced": 20}
        assert counts_of(store)[STABLE][CODE, "OK", ""] == 40
        assert tallies_of(store) == {}

    def test_a_label_joins_a_prediction_that_came_first(self, store: MonitorStore) -> None:
        store.apply(batch(prediction(label="acq")))
        store.apply(batch(label(text="earn"), topic="contract.labels"))
        assert counts_of(store)[STABLE][CONFUSION, "earn", "acq"] == 1
        assert tallies_of(store) == {}

    def test_a_label_that_comes_first_waits_for_its_prediction(self, store: MonitorStore) -> None:
        store.apply(batch(label(text="earn"), topic="contract.labels"))
        assert tallies_of(store) == {UNJOINED: 1}
        store.apply(batch(prediction(label="acq")))
        assert counts_of(store)[STABLE][CONFUSION, "earn", "acq"] == 1
        assert tallies_of(store) == {}

    def test_a_late_label_is_counted_in_the_window_of_its_prediction(self, store: MonitorStore) -> None:
        store.apply(batch(prediction("r-1"), prediction("r-2", accept_time_us=START_US + 90 * MINUTE_US)))
        store.apply(batch(label("r-1", after_us=999 * MINUTE_US), topic="contract.labels"))
        windows = store.snapshot(Query(tenant="acme", model="r8")).windows[STABLE]
        assert windows[START_US][CONFUSION, "earn", "earn"] == 1
        assert windows[START_US + 90 * MINUTE_US][CONFUSION, "earn", "earn"] == 0

    def test_the_newest_label_holds_whichever_comes_last(self, store: MonitorStore) -> None:
        store.apply(batch(prediction("r-1"), prediction("r-2")))
        old, new = ("acq", 1), ("trade", 2)
        for request_id, order, expected in (("r-1", (old, new), 0), ("r-2", (new, old), 2)):
            for i, (text, after_us) in enumerate(order):
                store.apply(
                    batch(label(request_id, text, after_us=after_us), expected=expected + i, topic="contract.l")
                )
        counts = counts_of(store)[STABLE]
        assert counts[CONFUSION, "trade", "earn"] == 2
        assert (CONFUSION, "acq", "earn") not in counts
        assert tallies_of(store) == {DUPLICATES: 2}

    def test_a_repeated_prediction_counts_once_also_in_a_later_batch(self, store: MonitorStore) -> None:
        store.apply(batch(prediction(), prediction()))
        store.apply(batch(prediction(), expected=2))
        assert counts_of(store)[STABLE][CODE, "OK", ""] == 1
        assert tallies_of(store) == {DUPLICATES: 2}

    def test_rows_of_one_call_and_copies_in_the_shadow_are_predictions_of_their_own(self, store: MonitorStore) -> None:
        shadow: dict[str, Any] = {"version": 2, "arm": "shadow", "label": "acq"}
        store.apply(batch(prediction(row=0), prediction(row=1), prediction(row=0, **shadow)))
        store.apply(batch(label(row=0), topic="contract.labels"))
        counts = counts_of(store)
        assert counts[STABLE][CODE, "OK", ""] == 2
        assert counts[STABLE][CONFUSION, "earn", "earn"] == 1
        assert counts[Series(2, "shadow")][CONFUSION, "earn", "acq"] == 1

    def test_a_refused_row_is_counted_by_code_and_never_labelled(self, store: MonitorStore) -> None:
        store.apply(batch(prediction(code="UNAVAILABLE", label="")))
        store.apply(batch(label(), topic="contract.labels"))
        counts = counts_of(store)[STABLE]
        assert counts[CODE, "UNAVAILABLE", ""] == 1
        assert not [key for key in counts if key[0] in (CONFUSION, LABEL)]

    def test_a_query_sees_its_tenant_its_version_and_its_time_only(self, store: MonitorStore) -> None:
        store.apply(
            batch(
                prediction("r-1"),
                prediction("r-2", accept_time_us=START_US + MINUTE_US),
                prediction("r-3", accept_time_us=START_US + 2 * MINUTE_US),
                prediction("r-4", version=2),
                prediction("r-5", model="r52"),
                prediction("r-1", tenant="other"),
                prediction("r-1", tenant="other"),
            )
        )
        answered = (CODE, "OK", "")
        assert counts_of(store)[STABLE][answered] == 3
        assert set(counts_of(store)) == {STABLE, Series(2, "stable")}
        assert set(counts_of(store, version=2)) == {Series(2, "stable")}
        middle = {"start_us": START_US + 1, "end_us": START_US + 2 * MINUTE_US}
        assert counts_of(store, **middle)[STABLE][answered] == 1
        assert counts_of(store, model="absent") == {}
        assert counts_of(store, tenant="other")[STABLE][answered] == 1
        assert tallies_of(store) == {}
        assert tallies_of(store, "other") == {DUPLICATES: 1}

    def test_dead_letters_are_handed_out_whole_and_once(self, store: MonitorStore) -> None:
        store.apply(batch(letters=[letter(0), letter(1, "acme")]))
        sent: list[DeadLetter] = []
        assert store.send_dead_letters(sent.extend) == 2
        assert store.send_dead_letters(sent.extend) == 0
        assert sent == [letter(0), letter(1, "acme")]
        assert tallies_of(store) == {DEAD_LETTERS: 2}
        assert tallies_of(store, "other") == {DEAD_LETTERS: 1}

    def test_dead_letters_stay_when_sending_fails(self, store: MonitorStore) -> None:
        store.apply(batch(letters=[letter(0)]))

        def fail(_: Sequence[DeadLetter]) -> None:
            raise RuntimeError("planted")

        with pytest.raises(RuntimeError, match="planted"):
            store.send_dead_letters(fail)
        sent: list[DeadLetter] = []
        store.send_dead_letters(sent.extend)
        assert sent == [letter(0)]

    def test_old_rows_are_forgotten_and_their_counters_stay(self, store: MonitorStore) -> None:
        later = START_US + 10 * MINUTE_US
        store.apply(batch(prediction("r-1"), prediction("r-2"), prediction("r-3", accept_time_us=later)))
        store.apply(batch(label("r-1"), label("r-3", after_us=20 * MINUTE_US), topic="contract.labels"))
        before = store.snapshot(Query(tenant="acme", model="r8")).windows
        assert store.forget(predictions_before_us=later, labels_before_us=later) == 3
        assert store.forget(predictions_before_us=later, labels_before_us=later) == 0
        assert store.snapshot(Query(tenant="acme", model="r8")).windows == before
        # What is kept is still joined and known; what is forgotten is neither counted again nor labelled.
        store.apply(batch(prediction("r-3", accept_time_us=later), prediction("r-1"), expected=3))
        store.apply(
            batch(
                label("r-3", "acq", after_us=30 * MINUTE_US), label("r-1", "acq"), expected=2, topic="contract.labels"
            )
        )
        counts = counts_of(store)[STABLE]
        assert counts[CODE, "OK", ""] == 3
        assert (counts[CONFUSION, "earn", "earn"], counts[CONFUSION, "acq", "earn"]) == (1, 1)
        assert tallies_of(store) == {DUPLICATES: 2, LATE: 1, UNJOINED: 1}

    def test_what_was_forgotten_stays_forgotten_when_the_clock_goes_back(self, store: MonitorStore) -> None:
        store.apply(batch(prediction("r-1")))
        store.forget(predictions_before_us=START_US + 1, labels_before_us=0)
        store.forget(predictions_before_us=1, labels_before_us=0)
        store.apply(batch(prediction("r-1"), expected=1))
        assert tallies_of(store) == {LATE: 1}

    def test_a_label_goes_with_the_last_of_its_predictions(self, store: MonitorStore) -> None:
        later = START_US + MINUTE_US
        store.apply(batch(prediction(), prediction(version=2, arm="shadow", accept_time_us=later)))
        store.apply(batch(label(text="acq"), topic="contract.labels"))
        store.forget(predictions_before_us=later, labels_before_us=later)
        # The correction takes the older label's counters back where the row is still known.
        store.apply(batch(label(text="earn", after_us=5), expected=1, topic="contract.labels"))
        counts = counts_of(store)
        assert counts[STABLE][CONFUSION, "acq", "earn"] == 1
        assert counts[Series(2, "shadow")] == counts[Series(2, "shadow")] | {(CONFUSION, "earn", "earn"): 1}
        assert (CONFUSION, "acq", "earn") not in counts[Series(2, "shadow")]

    def test_a_label_that_waits_too_long_expires(self, store: MonitorStore) -> None:
        labels = [label(f"x-{n}", tenant=("acme", "other")[n % 2], after_us=n) for n in range(2_500)]
        store.apply(batch(*labels, topic="contract.labels"))
        assert store.forget(predictions_before_us=0, labels_before_us=START_US + 2_400) == 2_400
        assert tallies_of(store) == {EXPIRED: 1_200, UNJOINED: 50}
        assert tallies_of(store, "other") == {EXPIRED: 1_200, UNJOINED: 50}
        assert store.tallies() == {EXPIRED: 2_400, UNJOINED: 100}
        store.apply(batch(prediction("x-0"), prediction("x-2400")))
        assert counts_of(store)[STABLE][CONFUSION, "earn", "earn"] == 1

    def test_events_that_the_log_dropped_are_counted_for_everybody(self, store: MonitorStore) -> None:
        store.apply(Batch(topic=TOPIC, partition=0, expected=0, following=7, num_lost=7))
        assert store.offsets(TOPIC) == {0: 7}
        assert tallies_of(store) == tallies_of(store, "other") == store.tallies() == {LOST: 7}

    def test_a_snapshot_is_a_copy(self, store: MonitorStore) -> None:
        store.apply(batch(prediction()))
        store.snapshot(Query(tenant="acme", model="r8")).windows[STABLE][START_US].clear()
        assert counts_of(store)[STABLE][CODE, "OK", ""] == 1

    def test_usage_is_added_up_by_span_model_and_version_for_one_tenant(self, store: MonitorStore) -> None:
        later = START_US + 61 * MINUTE_US
        store.apply(
            batch(
                prediction("r-1", num_tokens=20),
                prediction("r-1", row=1, num_tokens=5, accept_time_us=START_US + MINUTE_US),
                prediction("r-1", version=2, arm="shadow"),
                prediction("r-2", version=2, arm="canary", stands_for=3),
                prediction("r-3", accept_time_us=later, code="UNAVAILABLE", label=""),
                prediction("r-4", tenant="other"),
            )
        )
        query = UsageQuery(tenant="acme", start_us=START_US, end_us=START_US + 120 * MINUTE_US, span_s=3600)
        hour = later - MINUTE_US
        assert usage_of(store.usage(query)) == [
            Usage(start_us=START_US, model="r8", version=1, num_requests=1, num_rows=2, num_tokens=25),
            Usage(start_us=START_US, model="r8", version=2, num_requests=3, num_rows=3, num_tokens=60),
            Usage(start_us=hour, model="r8", version=1, num_requests=1, num_rows=0, num_tokens=0),
        ]

    def test_closing_twice_is_harmless(self, store: MonitorStore) -> None:
        store.close()
        store.close()
