# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import math

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from dragoman_common.errors import InvalidArgumentError
from dragoman_models import linear
from dragoman_models.contracts import ClassifierContract
from dragoman_models.linear import LinearClassifier, LinearHyperparameters, Vectoriser, ngram_keys, smooth_idf

VOCABULARY_SIZE = 50
NUM_LABELS = 3


def _rows(*rows):
    return [np.array(row, dtype=np.int32) for row in rows]


def _hyperparameters(**changes):
    values = {
        "vocabulary_size": VOCABULARY_SIZE,
        "ngram_max": 2,
        "num_features": 4,
        "sublinear_tf": True,
        "temperature": 1.0,
    }
    return values | changes


def _parts(seed=0):
    generator = np.random.default_rng(seed)
    rows = [generator.integers(1, VOCABULARY_SIZE, 30, dtype=np.int32) for _ in range(40)]
    keys = np.unique(ngram_keys(rows, vocabulary_size=VOCABULARY_SIZE, ngram_max=2)[0])
    hyperparameters = LinearHyperparameters.parse(_hyperparameters(num_features=len(keys), temperature=0.7))
    idf = generator.uniform(1, 3, len(keys)).astype(np.float32)
    coefficients = generator.normal(size=(len(keys), NUM_LABELS)).astype(np.float32)
    intercept = generator.normal(size=NUM_LABELS).astype(np.float32)
    return Vectoriser(hyperparameters, keys, idf), coefficients, intercept


class TestLinearIsAClassifier(ClassifierContract):
    @pytest.fixture
    def classifier(self):
        vectoriser, coefficients, intercept = _parts()
        return LinearClassifier(vectoriser, coefficients, intercept)

    @pytest.fixture
    def vocabulary_size(self):
        return VOCABULARY_SIZE


def test_ngrams_never_cross_rows_and_lengths_never_collide():
    rows = _rows([0, 0], [5], [0, 0, 0], [49, 49])
    keys, owners = ngram_keys(rows, vocabulary_size=VOCABULARY_SIZE, ngram_max=3)
    base = VOCABULARY_SIZE + 1
    by_row = {row: sorted(keys[owners == row].tolist()) for row in range(4)}
    assert by_row == {
        0: [1, 1, base + 1],
        1: [6],
        2: [1, 1, 1, base + 1, base + 1, base * base + base + 1],
        3: [50, 50, 50 * base + 50],
    }


def test_features_equal_scikit_learns_tfidf():
    generator = np.random.default_rng(3)
    rows = [generator.integers(2, VOCABULARY_SIZE, int(generator.integers(1, 40)), dtype=np.int32) for _ in range(60)]
    texts = [" ".join(f"w{token}" for token in row) for row in rows]
    oracle = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    expected = oracle.fit_transform(texts).toarray()
    keys, owners = ngram_keys(rows, vocabulary_size=VOCABULARY_SIZE, ngram_max=2)
    distinct = np.unique(keys)
    frequency = np.array([len(set(owners[keys == key].tolist())) for key in distinct])
    hyperparameters = LinearHyperparameters.parse(_hyperparameters(num_features=len(distinct)))
    sparse = Vectoriser(hyperparameters, distinct, smooth_idf(frequency, len(rows))).transform(rows)
    dense = np.zeros((len(rows), len(distinct)))
    for row in range(len(rows)):
        span = slice(sparse.row_starts[row], sparse.row_starts[row + 1])
        dense[row, sparse.features[span]] = sparse.values[span]
    base = VOCABULARY_SIZE + 1

    def name(key):
        head, tail = divmod(int(key), base)
        return f"w{tail - 1}" if head == 0 else f"w{head - 1} w{tail - 1}"

    columns = [oracle.vocabulary_[name(key)] for key in distinct]
    np.testing.assert_allclose(dense, expected[:, columns], atol=1e-6)


def test_a_row_without_known_ngrams_gets_the_intercept():
    vectoriser, coefficients, intercept = _parts()
    kept = vectoriser.keys_F > 40
    hyperparameters = LinearHyperparameters.parse(_hyperparameters(num_features=int(kept.sum())))
    small = Vectoriser(hyperparameters, vectoriser.keys_F[kept], vectoriser.idf_F[kept])
    classifier = LinearClassifier(small, coefficients[kept], intercept)
    np.testing.assert_allclose(classifier.logits(_rows([1]))[0], intercept, atol=1e-6)


def test_temperature_divides_the_logits():
    vectoriser, coefficients, intercept = _parts()
    logits = LinearClassifier(vectoriser, coefficients, intercept).logits(_rows([3, 4, 5]))
    cold = LinearHyperparameters.parse({**vectoriser.hyperparameters.to_mapping(), "temperature": 1.4})
    other = LinearClassifier(Vectoriser(cold, vectoriser.keys_F, vectoriser.idf_F), coefficients, intercept)
    np.testing.assert_allclose(other.logits(_rows([3, 4, 5])) * 2, logits, rtol=1e-5)


def test_dump_and_load_give_the_same_logits():
    vectoriser, coefficients, intercept = _parts()
    data = linear.dump(vectoriser, coefficients, intercept)
    loaded = linear.load(vectoriser.hyperparameters.to_mapping(), NUM_LABELS, data)
    batch = _rows([1, 2, 3], [4], [9, 9, 9, 9])
    expected = LinearClassifier(vectoriser, coefficients, intercept).logits(batch)
    np.testing.assert_array_equal(loaded.logits(batch), expected)
    assert linear.dump(vectoriser, coefficients, intercept) == data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ngram_max": 4}, "ngram_max must be an integer from 1 to 3"),
        ({"num_features": 0}, "num_features must be"),
        ({"sublinear_tf": 1}, "sublinear_tf must be true or false"),
        ({"temperature": 0.0}, "temperature must be a number from 0.01 to 100"),
        ({"temperature": math.nan}, "temperature must be a number"),
        ({"trust_remote_code": True}, "unknown key 'trust_remote_code'"),
        ({"vocabulary_size": 1 << 30, "ngram_max": 3}, "do not fit 64 bits"),
    ],
)
def test_bad_hyperparameters_are_refused_by_name(changes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        LinearHyperparameters.parse(_hyperparameters(**changes))


@pytest.mark.parametrize("keys", [[2, 1], [1, 1], [0, 1], [-5, 1]])
def test_keys_that_cannot_be_searched_are_refused(keys):
    hyperparameters = LinearHyperparameters.parse(_hyperparameters(num_features=2))
    with pytest.raises(InvalidArgumentError, match="strictly ascending"):
        Vectoriser(hyperparameters, np.array(keys), np.ones(2, dtype=np.float32))
