# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which rows go together in a training step.

Owns the length-bucketed order: rows are shuffled, sorted by length inside chunks of 50 batches, cut into batches, and
the batches are shuffled. So a batch holds little padding while its company changes every epoch.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CHUNK_BATCHES = 50


def bucketed_batches(
    lengths_N: NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield row indices; every row exactly once. Only the last cut of a chunk may be smaller than batch_size."""
    order = generator.permutation(len(lengths_N))
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), batch_size * CHUNK_BATCHES):
        chunk = order[start : start + batch_size * CHUNK_BATCHES]
        ranked = chunk[np.argsort(lengths_N[chunk], kind="stable")]
        batches.extend(ranked[cut : cut + batch_size] for cut in range(0, len(ranked), batch_size))
    for position in generator.permutation(len(batches)):
        yield batches[position]


def num_batches(num_rows: int, batch_size: int) -> int:
    """Return how many batches bucketed_batches yields."""
    full, rest = divmod(num_rows, batch_size * CHUNK_BATCHES)
    return full * CHUNK_BATCHES + -(-rest // batch_size)
