# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Limits of a call, and rows that come out as they went in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.file_digest import FileDigest
from dragoman_text import BasicEnglishTokenizer
from dragoman_tokenizer.encoding import CallLimits, decode_rows, encode_rows
from dragoman_tokenizer.version import ServedTokenizer, TokenizerSpec, VersionName

WORDS = ["ship", "grain", "wheat", "."]
LIMITS = CallLimits(max_rows=4, max_tokens=1000)
SERVED = ServedTokenizer(
    VersionName("local", "r8", 3),
    TokenizerSpec(
        root_sha256="0" * 64,
        backend="basic_english",
        file=FileDigest(path="tokenizer.json", size_bytes=1, sha256="0" * 64),
        max_text_bytes=65_536,
        max_tokens=512,
    ),
    BasicEnglishTokenizer.build([" ".join(WORDS)]),
)


def ids(*values):
    return np.array(values, dtype=np.int32)


def test_long_text_is_refused_with_row_size_and_limit():
    texts = ["a", "b", "c", "x" * 70_001]
    expected = r"texts\[3\] has 70,001 bytes; the limit for model r8 version 3 is 65,536 bytes: shorten it"
    with pytest.raises(InvalidArgumentError, match=f"^{expected}$"):
        encode_rows(SERVED, texts, LIMITS)


@pytest.mark.parametrize(("text", "fits"), [("é" * 32_768, True), ("é" * 32_768 + "a", False), ("a" * 65_536, True)])
def test_limit_counts_bytes_not_characters(text, fits):
    if fits:
        assert encode_rows(SERVED, [text], LIMITS).lengths.tolist() == [1]
    else:
        with pytest.raises(InvalidArgumentError, match="65,537 bytes"):
            encode_rows(SERVED, [text], LIMITS)


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        ([], "texts has 0 rows; one call takes 1 to 4"),
        (["a"] * 5, "texts has 5 rows"),
        (["a", ""], r"texts\[1\] is empty"),
        (["a", "b", " \n"], r"texts\[2\] holds no token"),
        (['"<br />"'], r"texts\[0\] holds no token"),
        (["ship " * 400] * 3, "texts hold 1,200 tokens; the limit for one call is 1,000"),
    ],
)
def test_bad_rows_are_refused_by_name(texts, error):
    with pytest.raises(InvalidArgumentError, match=error):
        encode_rows(SERVED, texts, LIMITS)


@pytest.mark.parametrize(
    ("token_ids", "lengths", "error"),
    [
        (ids(), ids(), "lengths has 0 rows"),
        (ids(2), ids(1, 0, 0, 0, 0), "lengths has 5 rows"),
        (ids(2, 3), ids(1), "lengths add up to 1, token_ids holds 2"),
        (ids(2), ids(2, -1), r"lengths\[1\] is -1"),
        (ids(2), ids(513), r"lengths\[0\] is 513; rows of model r8 version 3 have 0 to 512"),
        (ids(2, 6), ids(2), r"token_ids\[1\] is 6; ids of model r8 version 3 are 0 to 5"),
        (ids(-1), ids(1), r"token_ids\[0\] is -1"),
        (np.full(1200, 2, np.int32), ids(400, 400, 400), "token_ids holds 1,200 ids"),
    ],
)
def test_ids_that_are_no_rows_are_refused_by_name(token_ids, lengths, error):
    with pytest.raises(InvalidArgumentError, match=error):
        decode_rows(SERVED, token_ids, lengths, LIMITS)


def test_truncation_and_unknown_words_are_told_per_row():
    rows = encode_rows(SERVED, ["ship " * 600, "ship abc grain xyz"], CallLimits(max_rows=4, max_tokens=1000))
    assert rows.lengths.tolist() == [512, 4]
    assert rows.truncated == [True, False]
    assert rows.num_unknown == [0, 2]


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=20).map(" ".join), min_size=1, max_size=4))
def test_known_rows_come_back_as_they_went_in(texts):
    rows = encode_rows(SERVED, texts, LIMITS)
    assert decode_rows(SERVED, rows.token_ids, rows.lengths, LIMITS) == texts
