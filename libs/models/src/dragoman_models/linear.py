# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The ``linear`` architecture: TF-IDF over n-grams of token ids, one weight per n-gram and label. numpy only.

Owns n-gram keys, the TF-IDF weighting and the loaded classifier. The trainer fits the weights on features made by the
same Vectoriser, so that training and serving cannot disagree.

    token_ids_B -> int64 n-gram keys -> sorted-key lookup -> sublinear TF x IDF, unit length -> x coefficients_FC
                -> (+ intercept_C) / temperature -> logits_BC

Shape legend: B rows, F features, C labels, N non-zero features of a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.classifier import TokenIds, check_batch, softmax
from dragoman_models.device import CPU
from dragoman_models.fields import Fields, JsonScalar
from dragoman_models.package import MODEL_FILE, WEIGHTS_FILE
from dragoman_models.tensors import TensorSpec, read_tensors, write_tensors

MAX_NGRAM = 3
MAX_FEATURES = 1 << 26


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearHyperparameters:
    """What fixes the features and the scores.

    Attributes:
        ngram_max: N-grams of 1 to this many consecutive tokens are features.
        sublinear_tf: Weigh a term that occurs n times by 1 + ln n instead of n.
        temperature: Logits are divided by it; fitted on held-out data after training.
    """

    vocabulary_size: int
    ngram_max: int
    num_features: int
    sublinear_tf: bool
    temperature: float = 1.0

    @classmethod
    def parse(cls, values: Mapping[str, JsonScalar]) -> Self:
        """Check every hyperparameter; all are required, no other is accepted.

        Raises:
            InvalidArgumentError: a key or value outside what is listed here, or keys that would not fit 64 bits.
        """
        what = f"{MODEL_FILE}: linear hyperparameters"
        fields = Fields(dict(values), what=what, required=tuple(cls.__dataclass_fields__))
        parsed = cls(
            vocabulary_size=fields.integer("vocabulary_size", low=2, high=1 << 30),
            ngram_max=fields.integer("ngram_max", low=1, high=MAX_NGRAM),
            num_features=fields.integer("num_features", low=1, high=MAX_FEATURES),
            sublinear_tf=fields.flag("sublinear_tf"),
            temperature=fields.number("temperature", low=0.01, high=100),
        )
        if (parsed.vocabulary_size + 1) ** parsed.ngram_max > 1 << 62:
            raise InvalidArgumentError(f"{what}: n-grams of {parsed.ngram_max} over this vocabulary do not fit 64 bits")
        return parsed

    def to_mapping(self) -> dict[str, JsonScalar]:
        """Return the form that model.json holds."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SparseRows:
    """B sparse rows: the non-zero features of row b are at row_starts[b]:row_starts[b + 1], ascending.

    Attributes:
        row_starts: int64, B + 1 offsets.
        features: [N] int64 feature indices below F.
        values: [N] float64.
    """

    row_starts: NDArray[np.int64]
    features: NDArray[np.int64]
    values: NDArray[np.float64]


def ngram_keys(
    batch: Sequence[TokenIds], *, vocabulary_size: int, ngram_max: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the key and the row number of every n-gram of every row; n-grams never cross rows.

    The key of the tokens (a, b) is (a + 1) * (V + 1) + (b + 1) and so on: as digits start at 1, keys of different
    length never collide.
    """
    ids = np.concatenate([np.asarray(row, dtype=np.int64) for row in batch])
    rows = np.repeat(np.arange(len(batch)), [row.size for row in batch])
    base = vocabulary_size + 1
    key = ids + 1
    keys, owners = [key], [rows]
    for order in range(1, ngram_max):
        key = key[:-1] * base + ids[order:] + 1
        within = rows[:-order] == rows[order:]
        keys.append(key[within])
        owners.append(rows[:-order][within])
    return np.concatenate(keys), np.concatenate(owners)


class Vectoriser:
    """TF-IDF over a fixed, sorted list of n-gram keys."""

    def __init__(
        self, hyperparameters: LinearHyperparameters, keys_F: NDArray[np.int64], idf_F: NDArray[np.float32]
    ) -> None:
        """Take over the features.

        Raises:
            InvalidArgumentError: the keys are not strictly ascending, which the lookup depends on.
        """
        if not (np.diff(keys_F) > 0).all() or int(keys_F[0]) < 1:
            raise InvalidArgumentError(f"{WEIGHTS_FILE}: ngram_keys must be positive and strictly ascending")
        self.hyperparameters = hyperparameters
        self.keys_F = keys_F
        self.idf_F = idf_F

    def transform(self, batch: Sequence[TokenIds]) -> SparseRows:
        """Return the unit-length TF-IDF rows; a row without any known n-gram is empty."""
        h = self.hyperparameters
        keys, rows = ngram_keys(batch, vocabulary_size=h.vocabulary_size, ngram_max=h.ngram_max)
        found = np.minimum(np.searchsorted(self.keys_F, keys), len(self.keys_F) - 1)
        known = self.keys_F[found] == keys
        # One integer per (row, feature): counting duplicates is then one np.unique. B * F stays far below 2^63.
        pairs, counts = np.unique(rows[known] * h.num_features + found[known], return_counts=True)
        row, feature = np.divmod(pairs, h.num_features)
        frequency = counts.astype(np.float64)
        values = (1.0 + np.log(frequency) if h.sublinear_tf else frequency) * self.idf_F[feature].astype(np.float64)
        norms = np.sqrt(np.bincount(row, weights=values * values, minlength=len(batch)))
        starts = np.searchsorted(row, np.arange(len(batch) + 1))
        return SparseRows(starts, feature, values / norms[row])


class LinearClassifier:
    """A loaded linear model; implements the Classifier protocol."""

    def __init__(
        self, vectoriser: Vectoriser, coefficients_FC: NDArray[np.float32], intercept_C: NDArray[np.float32]
    ) -> None:
        """Take over the fitted weights."""
        self._vectoriser = vectoriser
        self._coefficients_FC = coefficients_FC
        self._intercept_C = intercept_C

    @property
    def num_labels(self) -> int:
        """C, the width of the score rows."""
        return int(self._intercept_C.size)

    @property
    def device(self) -> str:
        """The CPU, wherever it runs: numpy knows no other device."""
        return CPU

    def logits(self, batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return logits_BC divided by the temperature; see Classifier."""
        h = self._vectoriser.hyperparameters
        check_batch(batch, h.vocabulary_size)
        if not batch:
            return np.empty((0, self.num_labels), dtype=np.float32)
        sparse = self._vectoriser.transform(batch)
        logits_BC = np.tile(self._intercept_C.astype(np.float64), (len(batch), 1))
        for row, (start, stop) in enumerate(zip(sparse.row_starts[:-1], sparse.row_starts[1:], strict=True)):
            # Row by row, each product sees only its own features: the same sum whatever the neighbours are.
            weights_NC = self._coefficients_FC[sparse.features[start:stop]]
            logits_BC[row] += sparse.values[start:stop] @ weights_NC.astype(np.float64)
        return cast("NDArray[np.float32]", (logits_BC / h.temperature).astype(np.float32))

    def score(self, batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return scores_BC; see Classifier."""
        return softmax(self.logits(batch))

    def warm_up(self) -> None:
        """Score one row: the key and coefficient pages are then resident."""
        self.score([np.ones(8, dtype=np.int32)])


def smooth_idf(document_frequency_F: NDArray[np.int64], num_documents: int) -> NDArray[np.float32]:
    """Return ln((1 + n) / (1 + df)) + 1, as if one more document held every term."""
    ratio = (1.0 + num_documents) / (1.0 + document_frequency_F.astype(np.float64))
    return cast("NDArray[np.float32]", (np.log(ratio) + 1.0).astype(np.float32))


def tensor_specs(hyperparameters: LinearHyperparameters, num_labels: int) -> dict[str, TensorSpec]:
    """Return the exact tensors that the weights file holds."""
    size = hyperparameters.num_features
    return {
        "ngram_keys": TensorSpec("I64", (size,)),
        "idf": TensorSpec("F32", (size,)),
        "coefficients": TensorSpec("F32", (size, num_labels)),
        "intercept": TensorSpec("F32", (num_labels,)),
    }


def load(hyperparameters: Mapping[str, JsonScalar], num_labels: int, weights: bytes) -> LinearClassifier:
    """Build the classifier from a package's checked parts.

    Raises:
        InvalidArgumentError: a hyperparameter or the weights file does not fit.
    """
    parsed = LinearHyperparameters.parse(hyperparameters)
    arrays = read_tensors(weights, tensor_specs(parsed, num_labels))
    keys = cast("NDArray[np.int64]", arrays["ngram_keys"])
    idf, coefficients, intercept = (
        cast("NDArray[np.float32]", arrays[name]) for name in ("idf", "coefficients", "intercept")
    )
    return LinearClassifier(Vectoriser(parsed, keys, idf), coefficients, intercept)


def dump(vectoriser: Vectoriser, coefficients_FC: NDArray[np.float32], intercept_C: NDArray[np.float32]) -> bytes:
    """Serialise fitted weights; the same weights give the same bytes."""
    return write_tensors(
        {
            "ngram_keys": vectoriser.keys_F,
            "idf": vectoriser.idf_F,
            "coefficients": coefficients_FC,
            "intercept": intercept_C,
        }
    )
