# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Fitting the linear architecture. scikit-learn is used here, in training, and nowhere else.

Owns the choice of features (on the train part only) and the conversion of scikit-learn's weights into ours. Features
are computed by the served Vectoriser, so there is one TF-IDF in the project, not two.

    train rows -> n-gram keys by document frequency -> Vectoriser -> sparse matrix -> solver -> coefficients_FC
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.classifier import TokenIds
from dragoman_models.linear import LinearClassifier, LinearHyperparameters, Vectoriser, ngram_keys, smooth_idf
from dragoman_trainer.recipe import LinearRecipe

MAX_ITERATIONS = 5000


class LinearFit:
    """Fitted features and weights, before and after the temperature is known."""

    def __init__(
        self, vectoriser: Vectoriser, coefficients_FC: NDArray[np.float32], intercept_C: NDArray[np.float32]
    ) -> None:
        """Keep the parts of a fitted model."""
        self.vectoriser = vectoriser
        self.coefficients_FC = coefficients_FC
        self.intercept_C = intercept_C

    def classifier(self) -> LinearClassifier:
        """Return the model as it is served, at the temperature of the hyperparameters."""
        return LinearClassifier(self.vectoriser, self.coefficients_FC, self.intercept_C)


def fit_linear(
    rows: Sequence[TokenIds],
    labels_N: NDArray[np.int64],
    recipe: LinearRecipe,
    *,
    num_labels: int,
    vocabulary_size: int,
    temperature: float,
    seed: int,
) -> LinearFit:
    """Fit on these rows; the same rows and seed give the same weights.

    Args:
        rows: N token rows of the train part.
        labels_N: Their label indices; every label from 0 to num_labels - 1 must occur.
        recipe: Features and solver.
        num_labels: C.
        vocabulary_size: V of the tokenizer.
        temperature: What the model's scores are to be divided by.
        seed: The solver's seed.

    Raises:
        InvalidArgumentError: no n-gram is as frequent as min_document_frequency, or a label has no row.
    """
    if len(np.unique(labels_N)) != num_labels:
        raise InvalidArgumentError(f"the train part must hold every one of the {num_labels} labels")
    vectoriser = _vectoriser(rows, recipe, vocabulary_size, temperature)
    sparse = vectoriser.transform(rows)
    matrix = csr_matrix(
        (sparse.values, sparse.features, sparse.row_starts), shape=(len(rows), vectoriser.hyperparameters.num_features)
    )
    weights = "balanced" if recipe.class_weights == "balanced" else None
    build = LinearSVC if recipe.solver == "linear_svc" else LogisticRegression
    solver = build(C=recipe.c, class_weight=weights, random_state=seed, max_iter=MAX_ITERATIONS)
    solver.fit(matrix, labels_N)
    coefficients, intercept = solver.coef_, solver.intercept_
    if num_labels == 2:
        # scikit-learn keeps one column for two classes: the second class's. Halves make the softmax equal its sigmoid.
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    return LinearFit(vectoriser, coefficients.T.astype(np.float32), intercept.astype(np.float32))


def _vectoriser(rows: Sequence[TokenIds], recipe: LinearRecipe, vocabulary_size: int, temperature: float) -> Vectoriser:
    keys, owners = ngram_keys(rows, vocabulary_size=vocabulary_size, ngram_max=recipe.ngram_max)
    order = np.lexsort((owners, keys))
    keys, owners = keys[order], owners[order]
    # A key's second occurrence in the same row does not count: this is document frequency.
    first = np.ones(len(keys), dtype=bool)
    first[1:] = (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])
    distinct, frequency = np.unique(keys[first], return_counts=True)
    kept = frequency >= recipe.min_document_frequency
    if not kept.any():
        raise InvalidArgumentError(f"no n-gram occurs in {recipe.min_document_frequency} training rows")
    hyperparameters = LinearHyperparameters(
        vocabulary_size=vocabulary_size,
        ngram_max=recipe.ngram_max,
        num_features=int(kept.sum()),
        sublinear_tf=recipe.sublinear_tf,
        temperature=temperature,
    )
    return Vectoriser(hyperparameters, distinct[kept], smooth_idf(frequency[kept], len(rows)))
