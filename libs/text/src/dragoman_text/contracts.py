# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What every Tokenizer must do, as tests: each backend's test module subclasses this class.

Owns: the behaviour promised in tokenizer.py. Needs no test framework beyond one that collects `test_` methods.
"""

from collections.abc import Callable

import numpy as np

from dragoman_common.errors import InvalidArgumentError
from dragoman_text.tokenizer import Tokenizer

_TEXTS = ("the cat sat on the mat.", "the dog, the cat!", "cat", "unheardof zyzzyva the")


class TokenizerContract:
    """Subclass it and return a tokenizer that knows the words "the", "cat", "dog", "sat", "on" and "mat"."""

    def make_tokenizer(self) -> Tokenizer:
        """The tokenizer under test."""
        raise NotImplementedError

    def load(self, data: bytes) -> Tokenizer:
        """Load what `to_json` wrote, as serving does."""
        raise NotImplementedError

    def test_ids_are_int32_within_the_vocabulary_and_never_padding(self) -> None:
        tokenizer = self.make_tokenizer()
        for encoding in tokenizer.encode(_TEXTS, 64):
            assert encoding.ids.dtype == np.int32
            assert encoding.ids.ndim == 1
            assert encoding.ids.size > 0
            assert encoding.ids.min() >= 0
            assert encoding.ids.max() < tokenizer.vocabulary_size
            assert tokenizer.pad_id not in encoding.ids

    def test_rows_do_not_depend_on_their_neighbours(self) -> None:
        tokenizer = self.make_tokenizer()
        together = tokenizer.encode(_TEXTS, 5)
        for text, row in zip(_TEXTS, together, strict=True):
            (alone,) = tokenizer.encode([text], 5)
            assert alone.ids.tolist() == row.ids.tolist()
            assert (alone.truncated, alone.num_unknown) == (row.truncated, row.num_unknown)

    def test_truncation_keeps_the_head_and_says_so(self) -> None:
        tokenizer = self.make_tokenizer()
        (whole,) = tokenizer.encode(["the cat sat on the mat"], 64)
        (cut,) = tokenizer.encode(["the cat sat on the mat"], len(whole.ids) - 1)
        (exact,) = tokenizer.encode(["the cat sat on the mat"], len(whole.ids))
        assert not whole.truncated
        assert not exact.truncated
        assert exact.ids.tolist() == whole.ids.tolist()
        assert cut.truncated
        assert len(cut.ids) == len(whole.ids) - 1

    def test_known_words_survive_decoding(self) -> None:
        tokenizer = self.make_tokenizer()
        (encoding,) = tokenizer.encode(["the cat sat on the mat"], 64)
        assert tokenizer.decode(encoding.ids).split() == ["the", "cat", "sat", "on", "the", "mat"]

    def test_decoding_leaves_padding_out(self) -> None:
        tokenizer = self.make_tokenizer()
        (encoding,) = tokenizer.encode(["the cat"], 64)
        padded = [*encoding.ids.tolist(), tokenizer.pad_id, tokenizer.pad_id]
        assert tokenizer.decode(padded) == tokenizer.decode(encoding.ids)

    def test_unknown_words_are_counted_where_the_model_has_them(self) -> None:
        tokenizer = self.make_tokenizer()
        for encoding in tokenizer.encode(_TEXTS, 64):
            if tokenizer.unknown_id is None:
                assert encoding.num_unknown == 0
            else:
                assert encoding.num_unknown == np.count_nonzero(encoding.ids == tokenizer.unknown_id)

    def test_empty_text_and_no_text_are_allowed(self) -> None:
        tokenizer = self.make_tokenizer()
        assert tokenizer.encode([], 8) == []
        (empty,) = tokenizer.encode([""], 8)
        assert tokenizer.decode(empty.ids) == ""

    def test_special_tokens_spelt_in_a_text_stay_text(self) -> None:
        tokenizer = self.make_tokenizer()
        for text in ("<pad>", "the <pad> cat", "<pad> <pad>", "<PAD>"):
            (encoding,) = tokenizer.encode([text], 64)
            assert tokenizer.pad_id not in encoding.ids

    def test_bytes_round_trip_to_an_equal_tokenizer(self) -> None:
        tokenizer = self.make_tokenizer()
        data = tokenizer.to_json()
        again = self.load(data)
        assert again.to_json() == data
        assert again.vocabulary_size == tokenizer.vocabulary_size
        assert (again.pad_id, again.unknown_id) == (tokenizer.pad_id, tokenizer.unknown_id)
        for before, after in zip(tokenizer.encode(_TEXTS, 16), again.encode(_TEXTS, 16), strict=True):
            assert after.ids.tolist() == before.ids.tolist()

    def test_bad_arguments_are_refused(self) -> None:
        tokenizer = self.make_tokenizer()
        _refused(lambda: tokenizer.encode(["the"], 0))
        _refused(lambda: tokenizer.encode(["lone surrogate \ud800"], 8))
        _refused(lambda: tokenizer.decode([tokenizer.vocabulary_size]))
        _refused(lambda: tokenizer.decode([-1]))

    def test_files_that_are_not_strict_json_are_refused(self) -> None:
        data = self.make_tokenizer().to_json()
        for bad in (
            b"",
            b"[]",
            b"null",
            b"\xff\xfe",
            data[:-1],
            data + b"x",
            data[:-1] + b',"auto_map":{}}',
            data[:-1] + b',"a":1,"a":2}',
            b"[" * 200_000,
            b'{"model":NaN}',
        ):
            _refused(lambda bad=bad: self.load(bad))  # type: ignore[misc]


def _refused(call: Callable[[], object]) -> None:
    try:
        call()
    except InvalidArgumentError as error:
        assert str(error)
    else:
        raise AssertionError("InvalidArgumentError was not raised")
