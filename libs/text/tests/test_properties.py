# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What holds for any text at all."""

import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dragoman_text import BasicEnglishTokenizer, train_huggingface
from dragoman_text.basic_english import split_words

CORPUS = ["the cat sat on the mat . it's <br  /> here !", "a dog , a cat ; naïve ΟΔΟΣ", "<br /> <br x /> 42"] * 2
BASIC = BasicEnglishTokenizer.build([*CORPUS, "<br  />"])
BACKENDS = {
    "basic_english": BASIC,
    "bpe": train_huggingface("bpe", CORPUS, vocabulary_size=300, lowercase=False),
    "wordpiece": train_huggingface("wordpiece", CORPUS, vocabulary_size=120),
    "wordlevel": train_huggingface("wordlevel", CORPUS, vocabulary_size=60),
}
PIECES = [
    "the",
    "cat",
    "<pad>",
    "<unk>",
    "<br />",
    "<br",
    "/>",
    '"',
    "'",
    ".",
    "É",
    " ",
    "\x00",
    "\u2028",
    "zyzzyva",
    "ΟΣ",
]
TEXTS = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=20).map(" ".join))
EVERY_BACKEND = pytest.mark.parametrize("backend", BACKENDS)


@EVERY_BACKEND
@given(text=TEXTS, max_tokens=st.integers(1, 40))
def test_ids_are_in_range_and_never_padding(backend, text, max_tokens):
    tokenizer = BACKENDS[backend]
    (row,) = tokenizer.encode([text], max_tokens)
    assert len(row.ids) <= max_tokens
    assert np.all((row.ids >= 0) & (row.ids < tokenizer.vocabulary_size))
    assert tokenizer.pad_id not in row.ids
    assert row.num_unknown == np.count_nonzero(row.ids == tokenizer.unknown_id)


@EVERY_BACKEND
@given(text=TEXTS, max_tokens=st.integers(1, 20))
def test_truncated_row_is_the_head_of_the_whole_one(backend, text, max_tokens):
    (cut,) = BACKENDS[backend].encode([text], max_tokens)
    (whole,) = BACKENDS[backend].encode([text], 10_000)
    assert cut.ids.tolist() == whole.ids[:max_tokens].tolist()
    assert cut.truncated == (len(whole.ids) > max_tokens)


@EVERY_BACKEND
@given(texts=st.lists(TEXTS, max_size=6))
def test_batch_gives_each_row_what_it_gets_alone(backend, texts):
    rows = BACKENDS[backend].encode(texts, 30)
    alone = [BACKENDS[backend].encode([text], 30)[0] for text in texts]
    assert [row.ids.tolist() for row in rows] == [row.ids.tolist() for row in alone]


@EVERY_BACKEND
@given(text=TEXTS)
def test_known_text_decoded_and_encoded_again_gives_the_same_ids(backend, text):
    tokenizer = BACKENDS[backend]
    (row,) = tokenizer.encode([text], 1000)
    if row.num_unknown == 0:
        (again,) = tokenizer.encode([tokenizer.decode(row.ids)], 1000)
        assert again.ids.tolist() == row.ids.tolist()


@given(text=st.text())
def test_bytes_of_bpe_lose_nothing(text):
    tokenizer = BACKENDS["bpe"]
    (row,) = tokenizer.encode([text], 10_000)
    assert row.num_unknown == 0
    assert tokenizer.decode(row.ids) == unicodedata.normalize("NFC", text)


@given(text=st.text())
@example('a<b"r />b')
@example("\x1c<br />\x85")
def test_words_hold_no_mark_that_normalisation_splits_off(text):
    words = split_words(text)
    assert split_words(" ".join(words).replace("<br />", "<br  />")) == words
    assert not any(set(word) & set('";:') for word in words)
    assert not any(len(word) > 1 and set(word) & set("'.,()!?") for word in words)


@given(st.lists(st.text(alphabet="abc '.", max_size=12), max_size=12), st.integers(1, 4), st.integers(3, 12))
def test_vocabulary_holds_the_most_frequent_words(texts, min_frequency, max_size):
    tokenizer = BasicEnglishTokenizer.build(texts, max_size, min_frequency)
    counts = Counter(word for text in texts for word in split_words(text))
    words = tokenizer.vocabulary.tokens[2:]
    assert len(tokenizer.vocabulary) <= max_size
    assert list(words) == sorted(words, key=lambda word: (-counts[word], word))
    least = min((counts[word] for word in words), default=0)
    left_out = [word for word in counts if word not in words and counts[word] >= min_frequency]
    assert all(counts[word] <= least for word in left_out) or len(words) < max_size - 2
