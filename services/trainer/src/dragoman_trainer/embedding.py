# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Pretrained word vectors, copied row by row into an embedding matrix.

Owns reading the GloVe text format (word, then D numbers, per line; D is whatever the file has) and the rows of words
that the file lacks. It does not decide whether the embedding is trained further.

    vectors.txt + vocabulary -> matrix_VD, with the share of the vocabulary that was found
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dragoman_common.errors import InvalidArgumentError, NotFoundError

VECTORS_FILE = "vectors.txt"
MAX_DIMENSION = 4096


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingMatrix:
    """Initial embedding rows [V, D], one per vocabulary entry; num_found of them come from the file."""

    rows: NDArray[np.float32]
    num_found: int


def load_vectors(path: Path, tokens: Sequence[str], *, num_specials: int, seed: int) -> EmbeddingMatrix:
    """Build the matrix for a vocabulary.

    Args:
        path: The vectors file.
        tokens: The vocabulary in id order; the first num_specials are not words. Row 0, the padding, stays zero.
        num_specials: How many entries at the head are never looked up.
        seed: Seed of the rows that the file lacks.

    Returns:
        A word's row equals the file's vector; any other row but the padding's is drawn from N(0, s), s being the
        standard deviation of all found numbers, so that missing words start at the same scale.

    Raises:
        NotFoundError: no such file.
        InvalidArgumentError: a line has another number of columns, a number is not finite, or no word was found.
    """
    if not path.is_file():
        raise NotFoundError(f"word vectors {path} do not exist; fetch them with 'dragoman data get'")
    wanted = {token: row for row, token in enumerate(tokens) if row >= num_specials}
    found: dict[int, NDArray[np.float32]] = {}
    dimension = 0
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            word, _, rest = line.partition(" ")
            row = wanted.get(word)
            if row is None and dimension:
                continue
            vector = _vector(rest, f"{path.name}: line {number}")
            dimension = dimension or len(vector)
            if len(vector) != dimension or dimension > MAX_DIMENSION:
                raise InvalidArgumentError(
                    f"{path.name}: line {number} has {len(vector)} numbers, line 1 has {dimension}"
                )
            if row is not None:
                found[row] = vector
    if not found:
        raise InvalidArgumentError(f"{path.name}: holds no word of the vocabulary")
    rows = np.array(sorted(found))
    known = np.stack([found[row] for row in rows])
    matrix = np.random.default_rng(seed).normal(0.0, float(known.std()), (len(tokens), dimension)).astype(np.float32)
    matrix[rows] = known
    matrix[0] = 0.0
    return EmbeddingMatrix(matrix, len(found))


def _vector(text: str, where: str) -> NDArray[np.float32]:
    try:
        vector = np.array(text.split(), dtype=np.float32)
    except ValueError as error:
        raise InvalidArgumentError(f"{where} must be a word and numbers") from error
    if vector.size == 0 or not np.isfinite(vector).all():
        raise InvalidArgumentError(f"{where} must be a word and finite numbers")
    return vector
