# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The Classifier port's contract, as a test class that every architecture's tests subclass.

Owns what any classifier must do, whatever computes it. Not imported by shipped code.
"""

import numpy as np
import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.classifier import Classifier, TokenIds

TOLERANCE = 1e-5


class ClassifierContract:
    """Subclass, name it Test..., and override both fixtures."""

    num_random_batches = 1000

    @pytest.fixture
    def classifier(self) -> Classifier:
        """A loaded classifier with random, not constant, weights."""
        raise NotImplementedError

    @pytest.fixture
    def vocabulary_size(self) -> int:
        """Ids from 0 to this, exclusive, are valid."""
        raise NotImplementedError

    def test_scores_are_probability_rows(self, classifier: Classifier, vocabulary_size: int) -> None:
        scores = classifier.score(random_batch(np.random.default_rng(1), vocabulary_size, 16, 40))
        assert scores.dtype == np.float32
        assert scores.shape == (16, classifier.num_labels)
        assert (scores >= 0).all()
        np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-6)

    def test_scores_are_the_softmax_of_logits(self, classifier: Classifier, vocabulary_size: int) -> None:
        batch = random_batch(np.random.default_rng(2), vocabulary_size, 8, 40)
        exponent = np.exp(classifier.logits(batch).astype(np.float64))
        np.testing.assert_allclose(classifier.score(batch), exponent / exponent.sum(axis=1, keepdims=True), atol=1e-6)

    def test_different_texts_get_different_scores(self, classifier: Classifier, vocabulary_size: int) -> None:
        scores = classifier.score(random_batch(np.random.default_rng(3), vocabulary_size, 8, 40))
        assert len(np.unique(scores, axis=0)) == 8

    def test_row_order_follows_the_batch(self, classifier: Classifier, vocabulary_size: int) -> None:
        generator = np.random.default_rng(4)
        batch = random_batch(generator, vocabulary_size, 100, 60)
        order = generator.permutation(100)
        expected = classifier.logits(batch)[order]
        np.testing.assert_allclose(classifier.logits([batch[row] for row in order]), expected, atol=TOLERANCE)

    def test_a_row_does_not_depend_on_its_batch(self, classifier: Classifier, vocabulary_size: int) -> None:
        generator = np.random.default_rng(5)
        probes = [random_row(generator, vocabulary_size, length) for length in (1, 2, 7, 30)]
        alone = [classifier.logits([probe])[0] for probe in probes]
        worst = 0.0
        for number in range(self.num_random_batches):
            batch = random_batch(generator, vocabulary_size, int(generator.integers(1, 6)), 40)
            position = int(generator.integers(0, len(batch) + 1))
            batch.insert(position, probes[number % len(probes)])
            logits = classifier.logits(batch)[position]
            worst = max(worst, float(np.abs(logits - alone[number % len(probes)]).max()))
        assert worst <= TOLERANCE

    def test_a_row_is_the_same_beside_1_10_and_500_tokens(self, classifier: Classifier, vocabulary_size: int) -> None:
        generator = np.random.default_rng(6)
        probe = random_row(generator, vocabulary_size, 12)
        alone = classifier.logits([probe])[0]
        neighbours = [random_row(generator, vocabulary_size, length) for length in (1, 10, 500)]
        for batch in ([probe, *neighbours], [*neighbours, probe], *([probe, other] for other in neighbours)):
            position = next(index for index, row in enumerate(batch) if row is probe)
            np.testing.assert_allclose(classifier.logits(batch)[position], alone, atol=TOLERANCE)

    def test_the_same_batch_gives_the_same_bits(self, classifier: Classifier, vocabulary_size: int) -> None:
        batch = random_batch(np.random.default_rng(7), vocabulary_size, 8, 40)
        np.testing.assert_array_equal(classifier.logits(batch), classifier.logits(batch))

    def test_an_empty_batch_gives_no_rows(self, classifier: Classifier) -> None:
        assert classifier.score([]).shape == (0, classifier.num_labels)

    def test_an_empty_row_is_refused_by_number(self, classifier: Classifier) -> None:
        with pytest.raises(InvalidArgumentError, match="row 1: has no tokens"):
            classifier.score([np.array([1], dtype=np.int32), np.array([], dtype=np.int32)])

    def test_ids_outside_the_vocabulary_are_refused(self, classifier: Classifier, vocabulary_size: int) -> None:
        for bad in (-1, vocabulary_size, 2**31 - 1):
            with pytest.raises(InvalidArgumentError, match=f"from 0 to {vocabulary_size - 1}"):
                classifier.score([np.array([1, bad], dtype=np.int32)])

    def test_rows_that_are_not_integers_are_refused(self, classifier: Classifier) -> None:
        with pytest.raises(InvalidArgumentError, match="one-dimensional integers"):
            classifier.score([np.array([1.0])])

    def test_warming_up_changes_no_score(self, classifier: Classifier, vocabulary_size: int) -> None:
        batch = random_batch(np.random.default_rng(8), vocabulary_size, 4, 20)
        before = classifier.logits(batch)
        classifier.warm_up()
        np.testing.assert_array_equal(classifier.logits(batch), before)


def random_row(generator: np.random.Generator, vocabulary_size: int, length: int) -> TokenIds:
    """A row of valid ids, padding's id included: a tokenizer never makes it, and it must be harmless."""
    return generator.integers(0, vocabulary_size, length, dtype=np.int32)


def random_batch(
    generator: np.random.Generator, vocabulary_size: int, num_rows: int, max_tokens: int
) -> list[TokenIds]:
    """Rows of 1 to max_tokens valid ids."""
    return [random_row(generator, vocabulary_size, int(generator.integers(1, max_tokens + 1))) for _ in range(num_rows)]
