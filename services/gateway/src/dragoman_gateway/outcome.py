# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a worker's scores to what each row is answered. Also where a broken contract between services is caught."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dragoman_gateway.ports import EncodedRows, Scores


class ContractBrokenError(Exception):
    """A service of the platform answered something else than what was agreed: a bug, INTERNAL to the caller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowOutcome:
    """One row's answer: `scores` is a softmax in the order of the version's labels, `score` the label's own."""

    label: str
    score: float
    scores: Scores
    truncated: bool
    num_tokens: int
    num_unknown: int
    text_bytes: int


def check_encoded(encoded: EncodedRows, num_rows: int) -> None:
    """Hold the tokenizer to its contract.

    Raises:
        ContractBrokenError: counts differ, or a row has no ids.
    """
    lengths = encoded.lengths
    if not (len(lengths) == len(encoded.truncated) == len(encoded.num_unknown) == num_rows):
        raise ContractBrokenError(f"the tokenizer answered {len(lengths)} rows for {num_rows}")
    if (lengths < 1).any() or int(lengths.sum(dtype=np.int64)) != len(encoded.token_ids):
        raise ContractBrokenError("the tokenizer's lengths do not add up to its ids")


def outcomes(
    labels: Sequence[str], scores_NC: Scores, encoded: EncodedRows, text_bytes: Sequence[int]
) -> tuple[RowOutcome, ...]:
    """Name each row's best label; of equal scores the first label wins.

    Raises:
        ContractBrokenError: the scores do not have the shape [N, C], or are no probabilities.
    """
    if scores_NC.shape != (len(text_bytes), len(labels)):
        raise ContractBrokenError(f"the worker answered scores of shape {scores_NC.shape}")
    # NaN fails both comparisons.
    if not (np.abs(scores_NC.sum(axis=1) - 1.0) < 1e-3).all() or not (scores_NC >= 0.0).all():
        raise ContractBrokenError("the worker answered scores that do not sum to 1")
    best_N = scores_NC.argmax(axis=1)
    return tuple(
        RowOutcome(
            label=labels[best_N[row]],
            score=float(scores_NC[row, best_N[row]]),
            scores=scores_NC[row],
            truncated=encoded.truncated[row],
            num_tokens=int(encoded.lengths[row]),
            num_unknown=encoded.num_unknown[row],
            text_bytes=size,
        )
        for row, size in enumerate(text_bytes)
    )
