# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The port that everything which turns text into token ids stands behind, in training and in serving alike.

Owns: the Tokenizer protocol, the Encoding that it returns and the names of the reserved tokens. Not how text is cut:
see basic_english.py and huggingface.py. Data path: texts -> Encoding per text -> a classifier's batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dragoman_common.errors import InvalidArgumentError

PAD_TOKEN = "<pad>"  # noqa: S105 -- a vocabulary entry, not a secret
UNKNOWN_TOKEN = "<unk>"  # noqa: S105 -- a vocabulary entry, not a secret
SPECIAL_TOKENS = (PAD_TOKEN, UNKNOWN_TOKEN)
"""The first entries of every vocabulary that is built here: pad_id is 0 and unknown_id is 1."""

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Largest tokenizer.json that is parsed."""

MAX_VOCABULARY_SIZE = 2_000_000
"""Most entries a vocabulary may have; it bounds the embedding table that a model file can ask for."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """One text as token ids."""

    ids: NDArray[np.int32]
    """[T], 0 <= T <= max_tokens, each in [0, vocabulary_size). Empty when the text holds no token."""
    truncated: bool
    """True when tokens past max_tokens were left out."""
    num_unknown: int
    """How many of `ids` stand for a word outside the vocabulary."""


class Tokenizer(Protocol):
    """Text to token ids and back. Immutable and safe to call from several threads at once.

    A special token spelt out in a text ("<pad>", "[SEP]") is text: it never becomes the special id, because whoever
    writes the text could otherwise steer the model through it.
    """

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id that `encode` can return: the rows of an embedding table."""

    @property
    def pad_id(self) -> int:
        """The id that fills the tail of a row in a batch; `encode` never returns it."""

    @property
    def unknown_id(self) -> int | None:
        """The id of words outside the vocabulary; None where every text can be spelt (byte-level models)."""

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[Encoding]:
        """Encode each text by itself; the neighbours in `texts` never change a row.

        Args:
            texts: N texts; none may hold a lone surrogate, which has no UTF-8 form.
            max_tokens: longest row, special tokens of the model's template included; the head of the text is kept.

        Returns:
            N encodings in the order of `texts`.

        Raises:
            InvalidArgumentError: max_tokens leaves no room for a token, or a text has a lone surrogate.
        """

    def decode(self, ids: Sequence[int] | NDArray[np.int32]) -> str:
        """Text for token ids, padding left out; what the normalisation dropped stays dropped.

        A row without unknown words, decoded and encoded again, gives the same ids.

        Raises:
            InvalidArgumentError: an id is not in [0, vocabulary_size).
        """

    def to_json(self) -> bytes:
        """The file that `load_tokenizer` reads back; equal tokenizers give equal bytes."""


def require_utf8(texts: Sequence[str]) -> None:
    """Refuse a text that has no UTF-8 form.

    Raises:
        InvalidArgumentError: naming the row.
    """
    for row, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgumentError(f"texts[{row}] has a lone surrogate at character {error.start}") from error
