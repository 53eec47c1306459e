# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a model did on test sets, as evaluation.json: measured, written, read back strictly.

Owns the file format; the figures are those of metrics. It does not decide anything; the registry's gate compares two
of these.

    labels_N, scores_NC -> evaluate -> DatasetEvaluation -> to_json -> evaluation.json -> parse_evaluation

Shape legend: N rows, C labels.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.names import RULE, is_name
from dragoman_models.fields import Fields, JsonValue
from dragoman_models.metrics import confusion_metrics, expected_calibration_error
from dragoman_models.package import EVALUATION_FILE, MAX_LABELS
from dragoman_text.strict_json import parse_object

FORMAT = "dragoman.evaluation/1"
MAX_EVALUATION_BYTES = 16 << 20
MAX_DATASETS = 64
MAX_ROWS = 10_000_000

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
# Below any float32 score that softmax can give a label that was not ruled out; keeps the log finite.
_SMALLEST_SCORE = 1e-12
_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetEvaluation:
    """A model's result on one split of one data set.

    Attributes:
        digest: sha256 in hex of the split's rows; two evaluations can be compared row by row when it is equal.
        majority_accuracy: Accuracy of always answering the split's most frequent label.
        macro_recall: Mean recall over the labels that occur in the split.
        macro_f1: Mean F1 over the labels that occur in the split or were predicted.
        ece: Expected calibration error, 15 equal-width bins of the highest score.
        nll: Mean negative natural log of the true label's score.
        correct: One flag per row, in row order.
        confusion: C x C counts, [true][predicted].
    """

    name: str
    split: str
    digest: str
    num_rows: int
    accuracy: float
    macro_recall: float
    macro_f1: float
    majority_accuracy: float
    ece: float
    nll: float
    correct: tuple[bool, ...]
    confusion: tuple[tuple[int, ...], ...]


def evaluate(
    labels_N: Sequence[int] | NDArray[np.int64],
    scores_NC: NDArray[np.float32],
    *,
    name: str,
    split: str,
    digest: str,
) -> DatasetEvaluation:
    """Measure scores against true labels.

    Args:
        labels_N: True label indices.
        scores_NC: Score rows, each summing to 1, in the same order.
        name: The data set.
        split: Its part, such as ``test``.
        digest: sha256 in hex of the part's rows.

    Raises:
        InvalidArgumentError: no rows, counts that differ, or a label outside the score columns.
    """
    truth = np.asarray(labels_N, dtype=np.int64)
    if truth.size == 0 or scores_NC.ndim != 2 or len(scores_NC) != truth.size:
        raise InvalidArgumentError(
            f"{name}/{split}: {truth.size} labels and {len(scores_NC)} score rows; both must be N > 0"
        )
    num_labels = scores_NC.shape[1]
    if int(truth.min()) < 0 or int(truth.max()) >= num_labels:
        raise InvalidArgumentError(f"{name}/{split}: true labels must be from 0 to {num_labels - 1}")
    predicted = scores_NC.argmax(axis=1)
    confusion = np.bincount(truth * num_labels + predicted, minlength=num_labels**2).reshape(num_labels, num_labels)
    correct = predicted == truth
    true_scores = scores_NC[np.arange(truth.size), truth].astype(np.float64)
    metrics = confusion_metrics(confusion)
    return DatasetEvaluation(
        name=name,
        split=split,
        digest=digest,
        num_rows=int(truth.size),
        accuracy=metrics.accuracy,
        macro_recall=metrics.macro_recall,
        macro_f1=metrics.macro_f1,
        majority_accuracy=metrics.majority_accuracy,
        ece=expected_calibration_error(scores_NC.max(axis=1), correct),
        nll=float(-np.log(np.maximum(true_scores, _SMALLEST_SCORE)).sum() / truth.size),
        correct=tuple(correct.tolist()),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def to_json(evaluations: Sequence[DatasetEvaluation]) -> bytes:
    """Write evaluation.json; equal evaluations give equal bytes."""
    content = {
        "format": FORMAT,
        "datasets": [
            {
                "name": item.name,
                "split": item.split,
                "digest": item.digest,
                "num_rows": item.num_rows,
                "accuracy": item.accuracy,
                "macro_recall": item.macro_recall,
                "macro_f1": item.macro_f1,
                "majority_accuracy": item.majority_accuracy,
                "ece": item.ece,
                "nll": item.nll,
                "correct": base64.b64encode(np.packbits(np.array(item.correct, dtype=bool)).tobytes()).decode("ascii"),
                "confusion": [list(row) for row in item.confusion],
            }
            for item in evaluations
        ],
    }
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def parse_evaluation(data: bytes) -> tuple[DatasetEvaluation, ...]:
    """Read evaluation.json as untrusted input.

    The file's figures are not believed singly: counts, bitmap and the metrics that follow from them must agree.

    Raises:
        InvalidArgumentError: an unknown or missing key, a value out of range, or figures that contradict each other.
    """
    top = Fields(
        parse_object(data, what=EVALUATION_FILE, max_bytes=MAX_EVALUATION_BYTES),
        what=EVALUATION_FILE,
        required=("format", "datasets"),
    )
    top.text("format", choices=(FORMAT,))
    parsed = tuple(_dataset(value) for value in top.items("datasets", max_items=MAX_DATASETS))
    keys = [(item.name, item.split) for item in parsed]
    if len(set(keys)) != len(keys):
        raise InvalidArgumentError(f"{EVALUATION_FILE}: a data set's split is listed twice")
    return parsed


def _dataset(value: JsonValue) -> DatasetEvaluation:
    fields = Fields(value, what=f"{EVALUATION_FILE}: data set", required=tuple(DatasetEvaluation.__dataclass_fields__))
    name = fields.text("name", max_chars=63)
    split = fields.text("split", choices=("train", "dev", "test"))
    what = f"{EVALUATION_FILE}: {name}/{split}"
    digest = fields.text("digest", max_chars=64)
    if not is_name(name) or not _DIGEST.fullmatch(digest):
        raise InvalidArgumentError(f"{what}: name must have {RULE}; digest 64 hex digits")
    num_rows = fields.integer("num_rows", low=1, high=MAX_ROWS)
    correct = _bitmap(fields.text("correct", max_chars=MAX_ROWS), num_rows, what=what)
    confusion = _confusion(fields.items("confusion", max_items=MAX_LABELS), num_rows, what=what)
    metrics = confusion_metrics(confusion)
    found = DatasetEvaluation(
        name=name,
        split=split,
        digest=digest,
        num_rows=num_rows,
        accuracy=fields.number("accuracy", low=0, high=1),
        macro_recall=fields.number("macro_recall", low=0, high=1),
        macro_f1=fields.number("macro_f1", low=0, high=1),
        majority_accuracy=fields.number("majority_accuracy", low=0, high=1),
        ece=fields.number("ece", low=0, high=1),
        nll=fields.number("nll", low=0, high=1e6),
        correct=tuple(correct.tolist()),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )
    if int(correct.sum()) != int(np.trace(confusion)):
        raise InvalidArgumentError(f"{what}: the correct rows do not match the confusion counts")
    for metric in ("accuracy", "macro_recall", "macro_f1", "majority_accuracy"):
        if abs(getattr(found, metric) - getattr(metrics, metric)) > _TOLERANCE:
            raise InvalidArgumentError(f"{what}: {metric} does not follow from the confusion counts")
    return found


def _bitmap(encoded: str, num_rows: int, *, what: str) -> NDArray[np.bool_]:
    try:
        packed = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgumentError(f"{what}: correct is not base64") from error
    if len(packed) != (num_rows + 7) // 8:
        raise InvalidArgumentError(f"{what}: correct must hold {num_rows} bits")
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8)).astype(bool)
    if bits[num_rows:].any():
        raise InvalidArgumentError(f"{what}: correct has bits set beyond its {num_rows} rows")
    return bits[:num_rows]


def _confusion(rows: list[JsonValue], num_rows: int, *, what: str) -> NDArray[np.int64]:
    size = len(rows)
    counts: list[list[int]] = []
    for row in rows:
        if not isinstance(row, list) or len(row) != size or size < 2:
            raise InvalidArgumentError(f"{what}: confusion must be a square of at least 2 x 2")
        checked = [
            item for item in row if isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= num_rows
        ]
        if len(checked) != size:
            raise InvalidArgumentError(f"{what}: confusion must hold counts from 0 to num_rows")
        counts.append(checked)
    if not counts or sum(map(sum, counts)) != num_rows:
        raise InvalidArgumentError(f"{what}: confusion must add up to num_rows")
    return np.array(counts, dtype=np.int64)
