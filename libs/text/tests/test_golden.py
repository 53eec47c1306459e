# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""basic_english and the vocabulary against the real torchtext's answers (golden/make_golden.py)."""

import json
from pathlib import Path

import pytest

from dragoman_text.basic_english import BasicEnglishTokenizer, split_words
from dragoman_text.vocabulary import Vocabulary

GOLDEN = json.loads((Path(__file__).parent / "golden" / "basic_english.json").read_bytes())


def test_vectors_come_from_the_last_torchtext():
    assert GOLDEN["made_by"]["torchtext"].startswith("0.18.0")
    assert len(GOLDEN["sentences"]) >= 30
    assert len(GOLDEN["vocabularies"]) >= 10


@pytest.mark.parametrize("case", GOLDEN["sentences"], ids=lambda case: ascii(case["text"])[:40])
def test_words_equal_torchtext(case):
    assert split_words(case["text"]) == case["tokens"]


@pytest.mark.parametrize("case", GOLDEN["vocabularies"], ids=lambda case: f"{case['min_freq']}-{case['max_tokens']}")
def test_vocabulary_order_and_ids_equal_torchtext(case):
    vocabulary = Vocabulary.build(
        map(split_words, GOLDEN["corpus"]),
        specials=case["specials"],
        min_frequency=case["min_freq"],
        max_size=case["max_tokens"],
        default_index=case["specials"].index("<unk>") if case["lookups"] is not None else None,
    )
    assert list(vocabulary) == case["tokens"]
    if case["lookups"] is not None:
        assert [vocabulary.lookup(split_words(row)) for row in GOLDEN["corpus"][::7]] == case["lookups"]


def test_tokenizer_ids_equal_torchtext_except_for_reserved_words():
    (case,) = [
        c for c in GOLDEN["vocabularies"] if (c["min_freq"], c["max_tokens"], len(c["specials"])) == (2, None, 2)
    ]
    tokenizer = BasicEnglishTokenizer.build(GOLDEN["corpus"], min_frequency=2)
    assert list(tokenizer.vocabulary) == case["tokens"]
    for row, expected in zip(GOLDEN["corpus"][::7], case["lookups"], strict=True):
        (encoding,) = tokenizer.encode([row], 1000)
        # torchtext looks a typed "<pad>" up as padding; here it is an unknown word.
        assert encoding.ids.tolist() == [1 if token == 0 else token for token in expected]
