# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Joins labels to predictions, whichever comes first, and counts each row once.

Pure: what is known comes in, what must be written goes out. The store does both in one transaction with the offset.

    Batch + Known -> join -> Outcome: rows to remember, counters to add, tallies to add

**Why any order gives equal sums.** A prediction is counted when its key is first seen, a label when both it and its
prediction are known, by whoever comes second. Of several labels the newest by its own time holds, and the older one's
counters are taken back. So the sums depend on the set of events only. Two predictions that share a key and differ
break this: the first one holds. One event per row is the producer's promise.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dragoman_monitor.counts import Counted, CountingRules, Counts, counted, label_counts, prediction_counts
from dragoman_monitor.dead_letter import DeadLetter
from dragoman_monitor.prediction import Label, Prediction, RowKey
from dragoman_monitor.window import WindowKey

# Tallies: counted per tenant, not per window.
DUPLICATES: Final = "duplicates"
DEAD_LETTERS: Final = "dead_letters"
UNJOINED: Final = "unjoined"
EXPIRED: Final = "expired"  # labels that waited too long
LATE: Final = "late"  # predictions of a time whose rows were forgotten
LOST: Final = "lost"  # events that the log had dropped before they were read; of no tenant

TallyKey = tuple[str, str]
"""Tenant (empty where it could not be read) and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What was read from one partition, and the claim on its offsets: from `expected` to `following`."""

    topic: str
    partition: int
    expected: int
    """The next offset that the store must still be at, or somebody else was first."""
    following: int
    """The next offset after this batch."""
    predictions: Sequence[Prediction] = ()
    labels: Sequence[Label] = ()
    dead_letters: Sequence[DeadLetter] = ()
    num_lost: int = 0
    """Offsets that the log had no longer: a gap between `expected` and what was read."""

    def row_keys(self) -> set[RowKey]:
        """The rows that the batch is about."""
        return {prediction.key for prediction in self.predictions} | {label.key for label in self.labels}


@dataclass(slots=True)
class Known:
    """What the store holds about a batch's rows. A row may have one prediction per arm: a shadow is a copy."""

    predictions: dict[RowKey, dict[str, Counted]] = field(default_factory=dict)
    labels: dict[RowKey, Label] = field(default_factory=dict)
    forgotten_before_us: int = 0
    """Rows of windows that start earlier are forgotten (retention): whether one was counted cannot be known."""


@dataclass(slots=True)
class Outcome:
    """What the store must write."""

    predictions: list[Counted] = field(default_factory=list)
    labels: dict[RowKey, Label] = field(default_factory=dict)
    counts: defaultdict[WindowKey, Counts] = field(default_factory=lambda: defaultdict(Counter))
    tallies: Counter[TallyKey] = field(default_factory=Counter)


def join(batch: Batch, known: Known, rules: CountingRules) -> Outcome:
    """Decide what a batch changes; `known` is left as it is."""
    outcome = Outcome()
    predictions = {key: dict(arms) for key, arms in known.predictions.items()}
    labels: Mapping[RowKey, Label] = known.labels
    for prediction in batch.predictions:
        row = counted(prediction, rules)
        if row.window.start_us < known.forgotten_before_us:
            outcome.tallies[prediction.key.tenant, LATE] += 1
            continue
        arms = predictions.setdefault(prediction.key, {})
        _add_prediction(prediction, row, arms, labels, rules=rules, outcome=outcome)
    for label in batch.labels:
        _add_label(label, predictions.get(label.key, {}), labels, outcome)
    for letter in batch.dead_letters:
        outcome.tallies[letter.tenant, DEAD_LETTERS] += 1
    if batch.num_lost:
        outcome.tallies["", LOST] += batch.num_lost
    return outcome


def _add_prediction(
    prediction: Prediction,
    row: Counted,
    arms: dict[str, Counted],
    labels: Mapping[RowKey, Label],
    *,
    rules: CountingRules,
    outcome: Outcome,
) -> None:
    tenant = prediction.key.tenant
    if prediction.arm in arms:
        outcome.tallies[tenant, DUPLICATES] += 1
        return
    counts = outcome.counts[row.window]
    counts.update(prediction_counts(prediction, rules))
    label = outcome.labels.get(row.key) or labels.get(row.key)
    if label:
        counts.update(label_counts(row, label.text))
        if not arms:
            outcome.tallies[tenant, UNJOINED] -= 1
    arms[prediction.arm] = row
    outcome.predictions.append(row)


def _add_label(label: Label, arms: Mapping[str, Counted], labels: Mapping[RowKey, Label], outcome: Outcome) -> None:
    tenant = label.key.tenant
    older = outcome.labels.get(label.key) or labels.get(label.key)
    if older:
        outcome.tallies[tenant, DUPLICATES] += 1
        if not label.is_newer_than(older):
            return
    elif not arms:
        outcome.tallies[tenant, UNJOINED] += 1
    outcome.labels[label.key] = label
    for row in arms.values():
        counts = outcome.counts[row.window]
        counts.update(label_counts(row, label.text))
        if older:
            counts.subtract(label_counts(row, older.text))
