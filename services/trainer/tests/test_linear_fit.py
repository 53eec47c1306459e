# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.svm import LinearSVC

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.linear import ngram_keys
from dragoman_trainer.linear_fit import fit_linear
from dragoman_trainer.recipe import LinearRecipe

RECIPE = LinearRecipe(
    ngram_max=2, min_document_frequency=1, sublinear_tf=True, solver="linear_svc", c=1.0, refit_with_dev=False
)
VOCABULARY_SIZE = 40


def _data(num_rows=90, num_labels=3, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(num_rows) % num_labels
    rows = [
        np.concatenate([generator.integers(20, VOCABULARY_SIZE, 8), [2 + label]]).astype(np.int32) for label in labels
    ]
    return rows, labels


def _fit(rows, labels, recipe=RECIPE, num_labels=3, seed=1):
    return fit_linear(
        rows,
        labels,
        recipe,
        num_labels=num_labels,
        vocabulary_size=VOCABULARY_SIZE,
        temperature=1.0,
        seed=seed,
    )


def _replace(**changes):
    values = {name: getattr(RECIPE, name) for name in LinearRecipe.__dataclass_fields__}
    return LinearRecipe(**(values | changes))


@pytest.mark.parametrize("solver", ["linear_svc", "logistic_regression"])
def test_the_served_model_answers_as_it_learnt(solver):
    rows, labels = _data()
    classifier = _fit(rows, labels, _replace(solver=solver)).classifier()
    assert (classifier.score(rows).argmax(axis=1) == labels).all()


def test_logits_equal_scikit_learns_decision_function():
    rows, labels = _data()
    fitted = _fit(rows, labels)
    sparse = fitted.vectoriser.transform(rows)
    shape = (len(rows), fitted.vectoriser.hyperparameters.num_features)
    matrix = csr_matrix((sparse.values, sparse.features, sparse.row_starts), shape=shape)
    oracle = LinearSVC(C=1.0, random_state=1, max_iter=5000).fit(matrix, labels)
    np.testing.assert_allclose(fitted.classifier().logits(rows), oracle.decision_function(matrix), atol=1e-5)


def test_two_labels_give_two_columns_whose_difference_is_the_decision():
    rows, labels = _data(num_labels=2)
    fitted = _fit(rows, labels, num_labels=2)
    logits = fitted.classifier().logits(rows)
    assert logits.shape == (90, 2)
    assert (logits.argmax(axis=1) == labels).all()
    np.testing.assert_allclose(logits[:, 0], -logits[:, 1], atol=1e-6)


def test_document_frequency_counts_a_row_once():
    rows = [np.array([5, 5, 5], dtype=np.int32), np.array([6], dtype=np.int32), np.array([6], dtype=np.int32)]
    fitted = _fit(rows, np.array([0, 1, 1]), _replace(ngram_max=1, min_document_frequency=2), num_labels=2)
    kept, _ = ngram_keys([np.array([6], dtype=np.int32)], vocabulary_size=VOCABULARY_SIZE, ngram_max=1)
    assert fitted.vectoriser.keys_F.tolist() == kept.tolist()


def test_the_same_seed_gives_the_same_weights():
    rows, labels = _data()
    np.testing.assert_array_equal(_fit(rows, labels).coefficients_FC, _fit(rows, labels).coefficients_FC)


def test_a_frequency_that_no_ngram_has_is_refused():
    rows, labels = _data()
    with pytest.raises(InvalidArgumentError, match="no n-gram occurs in 1000 training rows"):
        _fit(rows, labels, _replace(min_document_frequency=1000))


def test_a_label_without_rows_is_refused():
    rows, labels = _data()
    with pytest.raises(InvalidArgumentError, match="every one of the 4 labels"):
        _fit(rows, labels, num_labels=4)


@pytest.mark.parametrize("solver", ["linear_svc", "logistic_regression"])
def test_balanced_weights_find_a_rare_label_that_the_loss_would_give_up(solver):
    generator = np.random.default_rng(3)
    labels = np.array([0] * 190 + [1] * 10)
    # Half of the common rows hold the rare label's word too: only its weight can win.
    words = np.where(labels == 1, 2, np.where(np.arange(200) % 2, 2, 3))
    rows = [np.concatenate([generator.integers(20, VOCABULARY_SIZE, 4), [word]]).astype(np.int32) for word in words]

    def recall(class_weights):
        fit = _fit(rows, labels, _replace(solver=solver, class_weights=class_weights, c=0.1, ngram_max=1), num_labels=2)
        found = fit.classifier().score([rows[index] for index in range(190, 200)]).argmax(axis=1)
        return float((found == 1).mean())

    assert recall("none") == 0.0
    assert recall("balanced") > 0.5
