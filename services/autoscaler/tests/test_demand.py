# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Reports of gateways: the newest of each, for its lifetime, and no more than fit."""

import pytest

from dragoman_autoscaler.demand import MAX_REPORTERS, DemandBook, Held
from dragoman_common.errors import InvalidArgumentError, OverloadedError

NOTHING = Held()


def test_the_newest_report_of_each_gateway_counts_until_its_lifetime_ends():
    book = DemandBook()
    book.take("g1", {"p": Held(calls=5, tokens=50, oldest_wait_s=9)}, 30, 0.0)
    book.take("g2", {"p": Held(calls=2, tokens=20, oldest_wait_s=3), "q": Held(calls=1, tokens=1)}, 10, 0.0)
    assert book.held("p", 1.0) == Held(calls=7, tokens=70, oldest_wait_s=9)
    book.take("g1", {"p": Held(calls=1, tokens=10, oldest_wait_s=1)}, 30, 2.0)
    assert book.held("p", 2.0) == Held(calls=3, tokens=30, oldest_wait_s=3)
    assert book.held("p", 10.0) == Held(calls=1, tokens=10, oldest_wait_s=1)
    assert book.held("p", 32.0) == book.held("q", 32.0) == NOTHING
    assert book.num_reporters == 0


def test_a_report_lives_at_most_a_minute():
    book = DemandBook()
    book.take("g", {"p": Held(calls=1)}, 1e9, 0.0)
    assert book.held("p", 59.9).calls == 1
    assert book.held("p", 60.0) == NOTHING


def test_a_full_book_refuses_new_gateways_and_still_takes_those_that_it_has():
    book = DemandBook()
    for number in range(MAX_REPORTERS):
        book.take(f"g{number}", {}, 30, 0.0)
    with pytest.raises(OverloadedError):
        book.take("one more", {}, 30, 1.0)
    book.take("g7", {"p": Held(calls=4)}, 30, 1.0)
    assert book.held("p", 1.0).calls == 4
    book.take("one more", {}, 30, 30.5)
    assert book.num_reporters == 2


@pytest.mark.parametrize(
    ("reporter", "held", "lifetime_s", "text"),
    [
        ("", {}, 1, "reporter"),
        ("g" * 257, {}, 1, "reporter"),
        ("g", {}, 0, "lifetime"),
        ("g", {}, -1, "lifetime"),
        ("g", {}, float("nan"), "lifetime"),
        ("g", {"p": Held(calls=-1)}, 1, "pools: 'p'"),
        ("g", {str(number): NOTHING for number in range(1001)}, 1, "pools: 1001"),
    ],
)
def test_a_report_outside_the_limits_is_refused_and_changes_nothing(reporter, held, lifetime_s, text):
    book = DemandBook()
    with pytest.raises(InvalidArgumentError, match=text):
        book.take(reporter, held, lifetime_s, 0.0)
    assert book.num_reporters == 0
