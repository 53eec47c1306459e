# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a vocabulary refuses, and what survives its file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman_common.errors import InvalidArgumentError
from dragoman_text import Vocabulary

TOKENS = st.lists(st.text(min_size=1, max_size=8).filter(lambda t: t.isprintable()), unique=True, max_size=30)


def fields(**changes):
    value = json.loads(Vocabulary(["<pad>", "<unk>", "a"], specials=["<pad>", "<unk>"], default_index=1).to_json())
    return json.dumps(value | changes).encode()


def test_unchanged_fields_are_accepted():
    assert list(Vocabulary.from_json(fields())) == ["<pad>", "<unk>", "a"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": "dragoman.vocabulary/2"}, "format"),
        ({"extra": 1}, "unknown keys: 'extra'"),
        ({"tokens": "abc"}, "lists"),
        ({"tokens": ["<pad>", "<unk>", "a", "a"]}, "'a' is in the vocabulary more than once"),
        ({"tokens": ["<pad>", "<unk>", ""]}, "token 2"),
        ({"tokens": ["<pad>", "<unk>", 7]}, "token 2"),
        ({"tokens": ["<pad>", "<unk>", "\ud800"]}, "token 2 has no UTF-8"),
        ({"tokens": ["<pad>", "<unk>", "a" * 65_537]}, "65,537"),
        ({"tokens": ["a", "<pad>", "<unk>"]}, "specials"),
        ({"specials": None}, "lists"),
        ({"default_index": 3}, "default_index 3"),
        ({"default_index": -1}, "default_index -1"),
        ({"default_index": True}, "integer"),
        ({"default_index": 1.0}, "integer"),
    ],
)
def test_bad_field_is_refused_by_name(changes, text):
    with pytest.raises(InvalidArgumentError, match=text):
        Vocabulary.from_json(fields(**changes))


def test_missing_key_is_refused():
    with pytest.raises(InvalidArgumentError, match="lacks keys: 'tokens'"):
        Vocabulary.from_json(b'{"format":"dragoman.vocabulary/1","specials":[],"default_index":null}')


def test_file_above_the_limit_is_refused_before_it_is_parsed():
    with pytest.raises(InvalidArgumentError, match="the limit is 67,108,864 bytes"):
        Vocabulary.from_json(b"[" * (64 * 1024 * 1024 + 1))


def test_lookup_without_default_index_names_the_token():
    with pytest.raises(InvalidArgumentError, match="'b'"):
        Vocabulary(["a"]).lookup(["a", "b"])


@pytest.mark.parametrize("arguments", [{"min_frequency": 0}, {"max_size": 2, "specials": ["<pad>", "<unk>"]}])
def test_build_refuses_sizes_out_of_range(arguments):
    with pytest.raises(InvalidArgumentError):
        Vocabulary.build([["a"]], **arguments)


def test_build_leaves_out_tokens_of_giant_length():
    assert list(Vocabulary.build([["a", "b" * 65_537, "c"]])) == ["a", "c"]


def test_ties_are_broken_by_code_points():
    assert list(Vocabulary.build([["b", "a", "é", "Z", "b"]])) == ["b", "Z", "a", "é"]


@given(TOKENS)
def test_file_gives_the_same_vocabulary_back(tokens):
    vocabulary = Vocabulary(tokens)
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again == vocabulary
    assert again.lookup(tokens) == list(range(len(tokens)))
