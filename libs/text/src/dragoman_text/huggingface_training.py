# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Training of Hugging Face tokenizers on the user's own text.

Owns: how each kind is put together (normaliser, splitter, decoder) so that pad is 0 and unknown is 1.
Data path: texts -> the library's trainer -> tokenizer.json bytes -> HuggingFaceTokenizer, the same way as in serving.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from dragoman_common.errors import InvalidArgumentError
from dragoman_text.huggingface import HuggingFaceTokenizer
from dragoman_text.tokenizer import MAX_VOCABULARY_SIZE, SPECIAL_TOKENS, UNKNOWN_TOKEN

Kind = Literal["bpe", "wordpiece", "wordlevel"]
_NUM_BYTES = 256
_CONTINUING = "##"


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
        InvalidArgumentError: unknown kind, a size or frequency out of range, or texts with more different characters
            than vocabulary_size has room for (wordpiece).
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
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])]
    tokenizer = _BUILDERS[kind](texts, normalizers.Sequence(steps), vocabulary_size, min_frequency)
    trained = HuggingFaceTokenizer.from_json(tokenizer.to_str().encode())
    if trained.vocabulary_size > vocabulary_size:
        raise InvalidArgumentError(
            f"vocabulary_size is {vocabulary_size:,}; the characters of these texts alone "
            f"need {trained.vocabulary_size:,} entries"
        )
    return trained


def _bpe(
    texts: Iterable[str], normalizer: normalizers.Normalizer, vocabulary_size: int, min_frequency: int
) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token=UNKNOWN_TOKEN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        # Every byte has an id, so no text is unknown however little of it was seen in training.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _wordpiece(
    texts: Iterable[str], normalizer: normalizers.Normalizer, vocabulary_size: int, min_frequency: int
) -> tokenizers.Tokenizer:
    corpus = list(texts)
    splitter = pre_tokenizers.BertPreTokenizer()
    first, inner = set[str](), set[str]()
    for text in corpus:
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            first.add(word[0])
            inner.update(word[1:])
    # The library numbers inner characters in the order of a randomly seeded hash map, and breaks ties between merges by
    # these numbers: two runs give two vocabularies. Reserving the characters up front, sorted, fixes the order.
    alphabet = [*sorted(first | inner), *sorted(f"{_CONTINUING}{character}" for character in inner)]
    learner = tokenizers.Tokenizer(models.WordPiece(unk_token=UNKNOWN_TOKEN))
    learner.normalizer, learner.pre_tokenizer = normalizer, splitter
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIAL_TOKENS, *alphabet],
        continuing_subword_prefix=_CONTINUING,
        show_progress=False,
    )
    learner.train_from_iterator(corpus, trainer)
    # The learner holds the characters as special tokens; the tokenizer that is kept must not.
    tokenizer = tokenizers.Tokenizer(models.WordPiece(learner.get_vocab(), unk_token=UNKNOWN_TOKEN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _wordlevel(
    texts: Iterable[str], normalizer: normalizers.Normalizer, vocabulary_size: int, min_frequency: int
) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token=UNKNOWN_TOKEN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


_Builder = Callable[[Iterable[str], normalizers.Normalizer, int, int], tokenizers.Tokenizer]
_BUILDERS: dict[str, _Builder] = {"bpe": _bpe, "wordpiece": _wordpiece, "wordlevel": _wordlevel}
