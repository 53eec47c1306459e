# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Batching invariants on given times, and by property: every row leaves once, in a batch within the limits."""

from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman_worker.batcher import Batcher, BatchLimits
from dragoman_worker.request import ScoreRequest

LIMITS = BatchLimits(max_batch_size=4, max_batch_tokens=256, max_wait_ms=10, min_remaining_ms=2)


def request(*lengths: int, tenant: str = "a", deadline_s: float = 100.0) -> ScoreRequest:
    rows = [np.zeros(length, dtype=np.int32) for length in lengths]
    return ScoreRequest(tenant=tenant, rows=rows, deadline_s=deadline_s, answer=Future())


def add(batcher: Batcher, *requests: ScoreRequest, now_s: float = 0.0) -> None:
    for one in requests:
        batcher.add(one, now_s)


def take(batcher: Batcher, now_s: float = 0.0, *, is_idle: bool = True) -> list[ScoreRequest]:
    batch, _ = batcher.next_batch(now_s, is_idle=is_idle)
    return [] if batch is None else [row.request for row in batch.rows]


def test_idle_device_gets_a_single_row_at_once():
    batcher = Batcher(LIMITS)
    one = request(5)
    add(batcher, one)
    assert take(batcher) == [one]


def test_full_batch_leaves_a_busy_device_queue_at_once():
    batcher = Batcher(LIMITS)
    requests = [request(5) for _ in range(4)]
    add(batcher, *requests[:3])
    assert take(batcher, is_idle=False) == []
    add(batcher, requests[3])
    assert take(batcher, is_idle=False) == requests


def test_partial_batch_leaves_max_wait_after_its_first_row():
    batcher = Batcher(LIMITS)
    first, second = request(5), request(5)
    add(batcher, first, now_s=1.000)
    add(batcher, second, now_s=1.009)
    assert batcher.next_due_s() == pytest.approx(1.010)
    assert take(batcher, 1.0099, is_idle=False) == []
    assert take(batcher, 1.0101, is_idle=False) == [first, second]
    assert batcher.next_due_s() is None


def test_token_budget_counts_padding():
    batcher = Batcher(BatchLimits(max_batch_size=100, max_batch_tokens=256, max_wait_ms=10, min_remaining_ms=2))
    add(batcher, request(65, deadline_s=50), *[request(100, deadline_s=60) for _ in range(5)])
    batch, _ = batcher.next_batch(0.0, is_idle=True)
    assert batch is not None
    assert [row.num_tokens for row in batch.rows] == [65, 100]
    assert batch.num_padded_tokens == 200


def test_short_rows_are_not_padded_to_long_ones():
    batcher = Batcher(LIMITS)
    short, long = [request(3), request(30)], request(200)
    add(batcher, short[0], long, short[1])
    assert take(batcher) == short
    assert take(batcher) == [long]


def test_earliest_deadline_leaves_first():
    batcher = Batcher(BatchLimits(max_batch_size=2, max_batch_tokens=256, max_wait_ms=10, min_remaining_ms=2))
    late, soon, sooner = request(5, deadline_s=30), request(5, deadline_s=20), request(5, deadline_s=10)
    add(batcher, late, soon, sooner)
    assert take(batcher) == [sooner, soon]
    assert take(batcher) == [late]


def test_expired_request_is_dropped_when_the_batch_forms():
    batcher = Batcher(LIMITS)
    gone, alive = request(5, deadline_s=1.0), request(5, deadline_s=9.0)
    add(batcher, gone, alive)
    batch, expired = batcher.next_batch(0.999, is_idle=True)
    assert expired == [gone]
    assert batch is not None
    assert [row.request for row in batch.rows] == [alive]


def test_cancelled_request_leaves_its_neighbours_in_place():
    for victim in range(4):
        batcher = Batcher(LIMITS)
        requests = [request(5) for _ in range(4)]
        add(batcher, *requests)
        batcher.cancel(requests[victim])
        assert take(batcher) == [one for one in requests if one is not requests[victim]]
        assert batcher.num_rows == 0


def test_flood_of_one_tenant_delays_another_by_one_batch():
    batcher = Batcher(LIMITS)
    add(batcher, *[request(5, tenant="flood", deadline_s=1.0 + n) for n in range(1000)])
    quiet = request(200, tenant="quiet", deadline_s=5000)
    add(batcher, quiet)
    assert quiet in take(batcher, -10) + take(batcher, -10)


def test_tenants_share_a_batch_by_tokens_whatever_their_row_lengths():
    batcher = Batcher(BatchLimits(max_batch_size=1000, max_batch_tokens=32 * 200, max_wait_ms=10, min_remaining_ms=2))
    for _ in range(2000):
        add(batcher, request(2, tenant="short"), request(32, tenant="long"))
    tokens = {"short": 0, "long": 0}
    for _ in range(4):
        batch, _ = batcher.next_batch(0.0, is_idle=True)
        for row in batch.rows:
            tokens[row.request.tenant] += row.num_tokens
    assert tokens["short"] == pytest.approx(tokens["long"], rel=0.1)


def test_suspected_row_runs_alone():
    batcher = Batcher(LIMITS)
    suspect = request(5)
    add(batcher, request(5), request(5))
    batcher.add(suspect, 0.0, is_alone=lambda _: True)
    batches = [take(batcher), take(batcher)]
    assert [suspect] in batches
    assert sorted(len(batch) for batch in batches) == [1, 2]


def test_dead_entries_are_swept():
    batcher = Batcher(LIMITS)
    keeper = request(5, deadline_s=1.0)
    add(batcher, keeper)
    for _ in range(5000):
        one = request(5)
        add(batcher, one)
        batcher.cancel(one)
    lane = batcher._lanes["a"]
    assert sum(len(heap) for heap in lane._heaps.values()) < 200
    assert len(batcher._arrivals) < 200
    assert take(batcher, -1) == [keeper]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_row_leaves_exactly_once_and_no_batch_breaks_a_limit(data):  # noqa: C901 - one state machine
    limits = BatchLimits(
        max_batch_size=data.draw(st.integers(1, 8)),
        max_batch_tokens=data.draw(st.integers(512, 2048)),
        max_wait_ms=10,
        min_remaining_ms=2,
    )
    batcher = Batcher(limits)
    now_s = 0.0
    alive: list[ScoreRequest] = []
    everyone: list[ScoreRequest] = []
    seen: set[tuple[int, int]] = set()
    gone: set[int] = set()

    def check(batch, expired):
        gone.update(id(one) for one in expired)
        for one in expired:
            assert one.deadline_s < now_s + 0.002
        if batch is None:
            return
        assert len(batch.rows) <= limits.max_batch_size
        assert batch.num_padded_tokens <= limits.max_batch_tokens
        for row in batch.rows:
            key = (id(row.request), row.index)
            assert key not in seen
            assert id(row.request) not in gone
            seen.add(key)

    for _ in range(data.draw(st.integers(1, 40))):
        step = data.draw(st.sampled_from(["add", "add", "cancel", "take", "busy", "wait", "restore"]))
        if step == "add":
            lengths = data.draw(st.lists(st.sampled_from([1, 10, 33, 500]), min_size=1, max_size=9))
            one = request(
                *lengths, tenant=data.draw(st.sampled_from("abc")), deadline_s=now_s + data.draw(st.floats(0.001, 1))
            )
            batcher.add(one, now_s, is_alone=lambda row: row.num_tokens == 33)
            alive.append(one)
            everyone.append(one)
        elif step == "cancel" and alive:
            one = alive.pop(data.draw(st.integers(0, len(alive) - 1)))
            batcher.cancel(one)
            gone.add(id(one))
        elif step == "wait":
            now_s += data.draw(st.floats(0, 0.3))
        elif step == "restore":
            batch, expired = batcher.next_batch(now_s, is_idle=True)
            check(batch, expired)
            if batch is not None:
                seen.difference_update((id(row.request), row.index) for row in batch.rows)
                batcher.restore(batch.rows)
        else:
            check(*batcher.next_batch(now_s, is_idle=step == "take"))
        assert batcher.num_rows == sum(len(one.waiting_rows) for one in everyone)
        assert sorted(id(row) for row in batcher.waiting()) == sorted(
            id(row) for one in everyone for row in one.waiting_rows
        )
    while batcher.num_rows:
        check(*batcher.next_batch(now_s, is_idle=True))
    for one in everyone:
        if id(one) not in gone:
            assert {index for owner, index in seen if owner == id(one)} == set(range(len(one.rows)))
    assert not batcher._lanes
    assert not batcher._num_by_bucket
