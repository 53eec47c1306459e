# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Cutting a call's rows into pieces that are computed together.

Owns the cut only; each architecture says how much one piece may hold. Rows of similar length go together, so that
little of a piece is padding.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def pieces(lengths_B: NDArray[np.int64], *, max_rows: int, max_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Yield row indices, shortest rows first, every row in exactly one piece.

    Args:
        lengths_B: Tokens of each row.
        max_rows: Rows of a piece.
        max_tokens: Tokens of a piece, padding to its longest row counted. A longer row is a piece of its own.
    """
    order = np.argsort(lengths_B, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order)
            and stop - start < max_rows
            and int(lengths_B[order[stop]]) * (stop + 1 - start) <= max_tokens
        ):
            stop += 1
        yield order[start:stop]
        start = stop
