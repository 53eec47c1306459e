# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Strikes: who is suspected, cleared and quarantined."""

import numpy as np
import pytest

from dragoman_worker import suspects
from dragoman_worker.suspects import QuarantinedInputError, Suspects

A, B = np.array([1, 2], dtype=np.int32), np.array([3], dtype=np.int32)


def test_two_crashes_of_its_own_doing_quarantine_an_input():
    book = Suspects()
    assert book.blame([A, B], is_own_doing=True) == []
    book.check([A, B])
    assert book.is_suspect(A)
    assert book.blame([A], is_own_doing=True) == [suspects.input_digest(A)]
    book.check([B])
    with pytest.raises(QuarantinedInputError, match="row 1"):
        book.check([B, A])


def test_signals_from_outside_need_three_and_a_success_clears():
    book = Suspects()
    for _ in range(2):
        assert book.blame([A], is_own_doing=False) == []
    book.clear([A])
    assert not book.is_suspect(A)
    for _ in range(2):
        assert book.blame([A], is_own_doing=False) == []
    assert book.blame([A], is_own_doing=False) == [suspects.input_digest(A)]


def test_same_text_twice_in_a_batch_was_in_one_crash():
    book = Suspects()
    assert book.blame([A, A.copy()], is_own_doing=True) == []
    book.check([A])


def test_memory_is_bounded_and_forgets_the_oldest():
    book = Suspects()
    for value in range(suspects.MAX_REMEMBERED + 10):
        book.blame([np.array([value], dtype=np.int32)], is_own_doing=True)
    assert len(book._strikes) == suspects.MAX_REMEMBERED
    assert not book.is_suspect(np.array([0], dtype=np.int32))
