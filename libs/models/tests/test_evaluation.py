# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import base64
import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, recall_score

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.classifier import softmax
from dragoman_models.evaluation import evaluate, parse_evaluation, to_json
from dragoman_models.metrics import expected_calibration_error

DIGEST = "ab" * 32


def _scored(num_rows=200, num_labels=5, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_labels, num_rows)
    logits = generator.normal(size=(num_rows, num_labels)) + 2.0 * np.eye(num_labels)[labels]
    return labels, softmax(logits)


def _evaluation(**changes):
    labels, scores = _scored(**changes)
    return evaluate(labels, scores, name="r8", split="test", digest=DIGEST)


def _content():
    return json.loads(to_json([_evaluation()]))


def test_metrics_equal_scikit_learns():
    labels, scores = _scored()
    found = _evaluation()
    predicted = scores.argmax(axis=1)
    assert found.accuracy == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)
    assert found.macro_recall == pytest.approx(recall_score(labels, predicted, average="macro"), abs=1e-12)
    assert found.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"), abs=1e-12)
    wide = scores.astype(np.float64)
    assert found.nll == pytest.approx(log_loss(labels, wide / wide.sum(axis=1, keepdims=True)), abs=1e-6)
    assert np.array(found.confusion).tolist() == confusion_matrix(labels, predicted).tolist()
    assert found.majority_accuracy == np.bincount(labels).max() / len(labels)
    assert list(found.correct) == (predicted == labels).tolist()


def test_labels_absent_from_the_split_do_not_enter_macro_recall():
    scores = softmax(np.array([[9.0, 0, 0], [9.0, 0, 0], [0, 9.0, 0]]))
    found = evaluate([0, 0, 1], scores, name="r8", split="test", digest=DIGEST)
    assert found.macro_recall == 1.0
    assert found.macro_f1 == 1.0


def test_calibration_error_equals_the_slow_definition():
    generator = np.random.default_rng(1)
    confidence = generator.uniform(0.2, 1.0, 1000).astype(np.float32)
    correct = generator.uniform(size=1000) < 0.7
    slow = 0.0
    for number in range(15):
        inside = (confidence.astype(float) > number / 15) & (confidence.astype(float) <= (number + 1) / 15)
        if inside.any():
            slow += inside.mean() * abs(confidence[inside].astype(float).mean() - correct[inside].mean())
    assert expected_calibration_error(confidence, correct) == pytest.approx(slow, abs=1e-9)


def test_metrics_do_not_depend_on_row_order():
    labels, scores = _scored()
    order = np.random.default_rng(2).permutation(len(labels))
    first = _evaluation()
    second = evaluate(labels[order], scores[order], name="r8", split="test", digest=DIGEST)
    for metric in ("accuracy", "macro_recall", "macro_f1", "ece", "nll"):
        assert getattr(second, metric) == pytest.approx(getattr(first, metric), abs=1e-12)


@pytest.mark.parametrize("num_rows", [1, 7, 8, 9, 201])
def test_writing_and_reading_give_the_same_evaluation(num_rows):
    evaluation = _evaluation(num_rows=num_rows)
    assert parse_evaluation(to_json([evaluation])) == (evaluation,)


def test_the_bitmap_is_big_endian_packbits_in_row_order():
    found = _evaluation()
    packed = base64.b64decode(_content()["datasets"][0]["correct"])
    assert packed == np.packbits(np.array(found.correct)).tobytes()
    assert bool(packed[0] & 0x80) == found.correct[0]


def test_no_rows_and_bad_labels_are_refused():
    _, scores = _scored(num_rows=2, num_labels=3)
    for labels in ([], [0], [0, 3], [0, -1]):
        with pytest.raises(InvalidArgumentError, match="r8/test"):
            evaluate(labels, scores, name="r8", split="test", digest=DIGEST)


def _edited(**changes):
    content = _content()
    content["datasets"][0] |= changes
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accuracy": 0.999}, "accuracy does not follow from the confusion counts"),
        ({"macro_f1": 0.999}, "macro_f1 does not follow"),
        ({"accuracy": 1.5}, "accuracy must be a number from 0 to 1"),
        ({"accuracy": "1.0"}, "accuracy must be a number"),
        ({"accuracy": True}, "accuracy must be a number"),
        ({"num_rows": 199}, "bits"),
        ({"num_rows": 0}, "num_rows must be an integer from 1"),
        ({"correct": "!"}, "not base64"),
        ({"correct": base64.b64encode(b"\0" * 25).decode()}, "the correct rows do not match"),
        ({"correct": base64.b64encode(b"\0" * 24).decode()}, "must hold 200 bits"),
        ({"confusion": [[200]]}, "at least 2 x 2"),
        ({"confusion": [[100, 0], [100]]}, "square"),
        ({"confusion": [[100, 0], [0, 99]]}, "add up to num_rows"),
        ({"confusion": [[100, -1], [1, 100]]}, "counts from 0"),
        ({"confusion": []}, "add up to num_rows"),
        ({"digest": "xyz"}, "64 hex digits"),
        ({"name": "../r8"}, "must have 1 to 63"),
        ({"split": "all"}, "split is 'all'"),
        ({"hook": "x"}, "unknown key 'hook'"),
    ],
)
def test_figures_that_contradict_or_leave_the_format_are_refused(changes, message):
    with pytest.raises(InvalidArgumentError) as caught:
        parse_evaluation(_edited(**changes))
    assert message in caught.value.message


def test_bits_beyond_the_last_row_are_refused():
    content = json.loads(to_json([_evaluation(num_rows=7)]))
    packed = bytearray(base64.b64decode(content["datasets"][0]["correct"]))
    packed[0] |= 1
    content["datasets"][0]["correct"] = base64.b64encode(bytes(packed)).decode()
    with pytest.raises(InvalidArgumentError, match="beyond its 7 rows"):
        parse_evaluation(json.dumps(content).encode())


def test_a_split_listed_twice_is_refused():
    evaluation = _evaluation()
    with pytest.raises(InvalidArgumentError, match="listed twice"):
        parse_evaluation(to_json([evaluation, evaluation]))
