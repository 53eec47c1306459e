# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Training of Hugging Face tokenizers on the user's own text.

Owns: how each kind is put together (normaliser, splitter, decoder) so that pad is 0 and unknown is 1.
Data path: texts -> the library's trainer -> tokenizer.json bytes -> HuggingFaceTokenizer, the same way as in serving.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import tokenizers
from dragoman_common.errors import InvalidArgumentError
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from dragoman_text.huggingface import HuggingFaceTokenizer
from dragoman_text.tokenizer import MAX_VOCABULARY_SIZE, SPECIAL_TOKENS, UNKNOWN_TOKEN

Kind = Literal["bpe", "wordpiece", "wordlevel"]
_NUM_BYTES = 256


def train_huggingface(
    kind: Kind,
    texts: Iterable[str],
    *,
    vocabulary_size: int,
    min_frequency: int = 1,
    lowercase: bool = True,
) -> HuggingFaceTokenizer:
    """Learn a tokenizer.

    bpe: on bytes, lossless apart from case, never unknown. wordpiece: pieces of words split at white space and
    punctuation, as BERT. wordlevel: whole words and runs of punctuation.

    Args:
        kind: which of the three.
        texts: the training texts, and only those.
        vocabulary_size: most entries, "<pad>" (0) and "<unk>" (1) included; bpe needs at least 258.
        min_frequency: pairs (bpe, wordpiece) or words seen less often are left out.
        lowercase: fold case first.

    Returns:
        A tokenizer read back from the bytes it will be stored as. Equal input gives equal bytes.

    Raises:
        InvalidArgumentError: unknown kind, or a size or frequency out of range.
    """
    if kind not in _BUILDERS:
        raise InvalidArgumentError(f"tokenizer kind {kind!r} is not one of {', '.join(_BUILDERS)}")
    least = len(SPECIAL_TOKENS) + (_NUM_BYTES if kind == "bpe" else 1)
    if not least <= vocabulary_size <= MAX_VOCABULARY_SIZE:
        raise InvalidArgumentError(
            f"vocabulary_size is {vocabulary_size:,}; {kind} needs {least} to {MAX_VOCABULARY_SIZE:,}"
        )
    if min_frequency < 1:
        raise InvalidArgumentError(f"min_frequency is {min_frequency}; it must be at least 1")
    tokenizer, trainer = _BUILDERS[kind](vocabulary_size, min_frequency)
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.train_from_iterator(texts, trainer)
    return HuggingFaceTokenizer.from_json(tokenizer.to_str().encode())


_Built = tuple[tokenizers.Tokenizer, trainers.Trainer]


def _bpe(vocabulary_size: int, min_frequency: int) -> _Built:
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token=UNKNOWN_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        # Every byte has an id, so no text is unknown however little of it was seen in training.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def _wordpiece(vocabulary_size: int, min_frequency: int) -> _Built:
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token=UNKNOWN_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer, trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )


def _wordlevel(vocabulary_size: int, min_frequency: int) -> _Built:
    tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token=UNKNOWN_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer, trainers.WordLevelTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )


_BUILDERS: dict[str, Callable[[int, int], _Built]] = {"bpe": _bpe, "wordpiece": _wordpiece, "wordlevel": _wordlevel}
