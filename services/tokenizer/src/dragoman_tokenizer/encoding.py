# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of text to rows of ids and back, within limits. Synchronous: the servicer runs it in an executor.

Owns: the checks of a call, each naming the row, the limit and what to do. Data path: texts -> checked -> Tokenizer ->
rows concatenated (the wire's form) and their lengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dragoman_common.errors import InvalidArgumentError
from dragoman_tokenizer.version import ServedTokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class CallLimits:
    """What one call may hold, whatever the model."""

    max_rows: int
    max_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRows:
    """N encoded rows; row i holds lengths[i] of the ids."""

    token_ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    truncated: list[bool]
    num_unknown: list[int]


def encode_rows(served: ServedTokenizer, texts: Sequence[str], limits: CallLimits) -> EncodedRows:
    """Encode the rows of one call.

    Raises:
        InvalidArgumentError: no row or too many; a row is empty, above the model's text limit, or holds no token;
            the rows together hold more tokens than one call may.
    """
    _check_rows("texts", len(texts), limits)
    max_bytes = served.spec.max_text_bytes
    for row, text in enumerate(texts):
        if not text:
            raise InvalidArgumentError(f"texts[{row}] is empty: send text, or leave the row out")
        # A character has at least one byte, so most texts need no encoding to be found short enough.
        if len(text) * 4 > max_bytes and (num_bytes := len(text.encode())) > max_bytes:
            raise InvalidArgumentError(
                f"texts[{row}] has {num_bytes:,} bytes; the limit for {served.name} is {max_bytes:,} bytes: shorten it"
            )
    encodings = served.tokenizer.encode(texts, served.spec.max_tokens)
    lengths = np.array([len(encoding.ids) for encoding in encodings], dtype=np.int32)
    if not lengths.all():
        row = int(np.argmin(lengths))
        raise InvalidArgumentError(f"texts[{row}] holds no token, only white space or dropped marks: send words")
    total = int(lengths.sum(dtype=np.int64))
    if total > limits.max_tokens:
        raise InvalidArgumentError(
            f"texts hold {total:,} tokens; the limit for one call is {limits.max_tokens:,}: send fewer rows"
        )
    return EncodedRows(
        token_ids=np.concatenate([encoding.ids for encoding in encodings]),
        lengths=lengths,
        truncated=[encoding.truncated for encoding in encodings],
        num_unknown=[encoding.num_unknown for encoding in encodings],
    )


def decode_rows(
    served: ServedTokenizer, token_ids: NDArray[np.int32], lengths: NDArray[np.int32], limits: CallLimits
) -> list[str]:
    """Text for rows of ids.

    Raises:
        InvalidArgumentError: no row or too many; lengths do not add up to the ids, or one is negative or above the
            model's row limit; an id is outside the vocabulary.
    """
    _check_rows("lengths", len(lengths), limits)
    longest = served.spec.max_tokens
    bad = np.flatnonzero((lengths < 0) | (lengths > longest))
    if bad.size:
        row = int(bad[0])
        raise InvalidArgumentError(
            f"lengths[{row}] is {int(lengths[row]):,}; rows of {served.name} have 0 to {longest:,} tokens"
        )
    total = int(lengths.sum(dtype=np.int64))
    if total != len(token_ids):
        raise InvalidArgumentError(f"lengths add up to {total:,}, token_ids holds {len(token_ids):,}: they must agree")
    if total > limits.max_tokens:
        raise InvalidArgumentError(
            f"token_ids holds {total:,} ids; the limit for one call is {limits.max_tokens:,}: send fewer rows"
        )
    size = served.tokenizer.vocabulary_size
    outside = np.flatnonzero((token_ids < 0) | (token_ids >= size))
    if outside.size:
        at = int(outside[0])
        raise InvalidArgumentError(
            f"token_ids[{at}] is {int(token_ids[at])}; ids of {served.name} are 0 to {size - 1:,}"
        )
    return [served.tokenizer.decode(row) for row in np.split(token_ids, np.cumsum(lengths)[:-1])]


def _check_rows(field: str, num_rows: int, limits: CallLimits) -> None:
    if not 1 <= num_rows <= limits.max_rows:
        raise InvalidArgumentError(f"{field} has {num_rows:,} rows; one call takes 1 to {limits.max_rows:,}")
