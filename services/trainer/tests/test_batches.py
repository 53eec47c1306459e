# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest

from dragoman_trainer.batches import CHUNK_BATCHES, bucketed_batches, num_batches


@pytest.mark.parametrize("num_rows", [1, 3, 4, 5, 199, 200, 201, 1000])
def test_every_row_comes_exactly_once(num_rows):
    lengths = np.random.default_rng(0).integers(1, 50, num_rows)
    batches = list(bucketed_batches(lengths, 4, np.random.default_rng(1)))
    assert sorted(np.concatenate(batches).tolist()) == list(range(num_rows))
    assert max(map(len, batches)) <= 4
    assert len(batches) == num_batches(num_rows, 4)


def test_bucketing_cuts_padding_to_a_fifth():
    lengths = np.random.default_rng(0).geometric(1 / 60, 5000)

    def padding(batches):
        return sum(len(batch) * lengths[batch].max() - lengths[batch].sum() for batch in batches)

    bucketed = padding(bucketed_batches(lengths, 32, np.random.default_rng(1)))
    order = np.random.default_rng(1).permutation(5000)
    plain = padding(order[start : start + 32] for start in range(0, 5000, 32))
    assert bucketed * 5 < plain


def test_the_company_changes_from_epoch_to_epoch_and_length_does_not_order_the_steps():
    lengths = np.random.default_rng(0).integers(1, 500, 4 * CHUNK_BATCHES * 2)
    generator = np.random.default_rng(1)
    first, second = (list(bucketed_batches(lengths, 4, generator)) for _ in range(2))
    assert {frozenset(batch.tolist()) for batch in first} != {frozenset(batch.tolist()) for batch in second}
    means = [float(lengths[batch].mean()) for batch in first]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


def test_the_same_seed_gives_the_same_batches():
    lengths = np.random.default_rng(0).integers(1, 50, 100)
    first, second = (list(bucketed_batches(lengths, 8, np.random.default_rng(3))) for _ in range(2))
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in second]
