# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The classifier port: token ids in, one probability row per text out.

Owns the protocol that every architecture of this library implements, and the input check and softmax that they share.
It does not know tokenizers or files. Shape legend: B rows, T tokens of a row, C labels.

    token_ids_B (ragged) -> check_batch -> logits_BC -> softmax -> scores_BC
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dragoman_common.errors import InvalidArgumentError

TokenIds: TypeAlias = NDArray[np.int32]


class Classifier(Protocol):
    """A loaded text classifier. Its contract tests are contracts.ClassifierContract.

    A row's scores depend on that row only: not on its neighbours, their lengths or their order (within 1e-5, which
    is float32 rounding of differently shaped products).
    """

    @property
    def num_labels(self) -> int:
        """C, the width of the score rows."""
        ...

    @property
    def device(self) -> str:
        """What it computes on: `cpu` or `cuda`. Token ids and answers are on the host in any case."""
        ...

    def logits(self, batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return the unnormalised logits_BC after temperature scaling; softmax of them are the scores."""
        ...

    def score(self, batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return scores_BC, one row per text in the order given, each row non-negative with sum 1.

        Args:
            batch: B rows of 1..T token ids each, every id below the vocabulary size.

        Raises:
            InvalidArgumentError: a row is empty or an id is outside the vocabulary; nothing was computed.
        """
        ...

    def warm_up(self) -> None:
        """Run the shapes that serving will see once, so that the first caller does not pay for lazy initialisation."""
        ...


class Embedder(Protocol):
    """A loaded text encoder: a vector for each text. A row depends on its text only, as a classifier's does."""

    @property
    def embedding_size(self) -> int:
        """D, the width of the vectors."""
        ...

    @property
    def device(self) -> str:
        """See Classifier.device."""
        ...

    def embed(self, batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return vectors_BD, one row per text in the order given.

        Args:
            batch: B rows of 1..T token ids each, every id below the vocabulary size.

        Raises:
            InvalidArgumentError: a row is empty or an id is outside the vocabulary; nothing was computed.
        """
        ...

    def warm_up(self) -> None:
        """See Classifier.warm_up."""
        ...


def check_batch(batch: Sequence[TokenIds], vocabulary_size: int) -> NDArray[np.int64]:
    """Return the row lengths of a batch whose ids are all usable.

    Raises:
        InvalidArgumentError: a row is empty, not one-dimensional integers, or has an id outside [0, vocabulary_size).
    """
    for index, row in enumerate(batch):
        if row.ndim != 1 or row.dtype.kind not in "iu":
            raise InvalidArgumentError(f"row {index}: token ids must be one-dimensional integers")
        if row.size == 0:
            raise InvalidArgumentError(f"row {index}: has no tokens")
        if int(row.min()) < 0 or int(row.max()) >= vocabulary_size:
            raise InvalidArgumentError(f"row {index}: token ids must be from 0 to {vocabulary_size - 1}")
    return np.fromiter((row.size for row in batch), dtype=np.int64, count=len(batch))


def softmax(logits_BC: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the rows' softmax, computed in float64 so that float32 rows sum to 1 within one rounding step."""
    shifted = logits_BC.astype(np.float64) - logits_BC.max(axis=1, keepdims=True)
    exponent = np.exp(shifted)
    return np.asarray(exponent / exponent.sum(axis=1, keepdims=True), dtype=np.float32)
