# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The gate refuses what the evidence does not carry: by raw calls to the registry, and its statistics by themselves."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman_registry.significance import binomial_tail, mcnemar_tail


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 99))
@settings(max_examples=300, derandomize=True)
def test_the_binomial_tail_equals_exact_arithmetic(successes, trials, percent):
    p = Fraction(percent, 100)
    exact = sum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(successes, trials + 1))
    assert binomial_tail(successes, trials, percent / 100) == pytest.approx(float(exact), rel=1e-9, abs=1e-300)


def test_tails_stay_sane_for_many_rows():
    assert 0.49 < binomial_tail(5_000, 10_000, 0.5) < 0.51
    assert binomial_tail(10_000, 10_000, 0.5) == 0.0 or binomial_tail(10_000, 10_000, 0.5) < 1e-300
    assert binomial_tail(0, 10, 0.5) == 1.0
    assert binomial_tail(11, 10, 0.5) == 0.0
    assert (binomial_tail(1, 10, 0.0), binomial_tail(1, 10, 1.0)) == (0.0, 1.0)


def test_mcnemar_equals_the_published_form():
    assert mcnemar_tail(0, 0) == 1.0
    assert mcnemar_tail(8, 2) == pytest.approx(56 / 1024)
    assert mcnemar_tail(9, 1) == pytest.approx(11 / 1024)


async def test_a_version_without_an_evaluation_is_refused(client, make, refused):
    await client.publish(make.files())
    async with refused("FAILED_PRECONDITION", "evaluation.json"):
        await client.move(1)
    async with refused("NOT_FOUND"):
        await client.alias()


async def test_a_model_trained_on_shuffled_labels_is_refused_with_its_measurements(client, make, refused):
    # 60 % of the rows are of one class; the shuffled model is right on 45 %.
    await client.publish(make.good(num_wrong=220))
    async with refused("FAILED_PRECONDITION", "majority class 0.6000") as refusal:
        await client.move(1)
    assert "accuracy 0.4500 of 400 rows" in refusal.details


async def test_always_answering_the_majority_class_is_not_enough(client, make, refused):
    await client.publish(make.good(num_wrong=160))
    async with refused("FAILED_PRECONDITION", "majority"):
        await client.move(1)


async def test_the_first_good_model_passes_and_the_event_says_why(client, make):
    await client.publish(make.good(num_wrong=10))
    event = await client.move(1, reason="first")
    assert (event.sequence, event.stable_version, event.reason) == (1, 1, "first")
    assert "accuracy 0.9750 of 400 rows" in event.gate_summary


async def _second(client, make, first_bits, second_bits):
    for seed, bits in enumerate((first_bits, second_bits)):
        await client.publish(make.files(b"w%d" % seed, evaluated=make.evaluation(bits)), publish_id=f"p{seed}")
    await client.move(1)
    return await client.move(2)


async def test_a_significantly_worse_model_is_refused(client, make, refused):
    first = make.bits(2000, 20)
    # 12 rows lost, none won: p = 2^-12, though the accuracy falls by 0.6 points only.
    async with refused("FAILED_PRECONDITION", "McNemar"):
        await _second(client, make, first, [bit and not 100 <= i < 112 for i, bit in enumerate(first)])


async def test_a_drop_of_more_than_a_point_is_refused_also_when_few_rows_prove_nothing(client, make, refused):
    # 100 rows, 2 lost: p = 0.25, and two points down.
    first = make.bits(100, 2)
    async with refused("FAILED_PRECONDITION", "more than 1.0 points"):
        await _second(client, make, first, [bit and not 50 <= i < 52 for i, bit in enumerate(first)])


async def test_a_model_that_is_not_worse_passes(client, make):
    first = make.bits(2000, 20)
    event = await _second(client, make, first, [bit and not 100 <= i < 104 for i, bit in enumerate(first)])
    assert event.sequence == 2
    assert "right only in production 4, only in candidate 0, p(worse) = 0.0625" in event.gate_summary


async def test_a_better_model_passes(client, make):
    assert (await _second(client, make, make.bits(400, 20), make.bits(400, 5))).stable_version == 2


async def _against_production(client, make, **candidate):
    await client.publish(make.good(0), publish_id="p0")
    await client.move(1)
    await client.publish(make.files(b"other", **candidate), publish_id="p1")
    return await client.move(2)


async def test_other_test_rows_are_refused(client, make, refused):
    evaluated = make.evaluation(make.bits(400, 1), digest="1" * 64)
    async with refused("FAILED_PRECONDITION", "different test rows"):
        await _against_production(client, make, evaluated=evaluated)


async def test_another_data_set_is_refused(client, make, refused):
    evaluated = make.evaluation(make.bits(400, 1), name="r52")
    async with refused("FAILED_PRECONDITION", "not evaluated on this test set"):
        await _against_production(client, make, evaluated=evaluated)


async def test_labels_in_another_order_are_refused(client, make, refused):
    labels = make.labels[::-1]
    evaluated = make.evaluation(make.bits(400, 1), labels=labels)
    async with refused("FAILED_PRECONDITION", "another order"):
        await _against_production(client, make, labels=labels, evaluated=evaluated)


async def test_other_labels_are_refused_by_name(client, make, refused):
    labels = ("acq", "earn", "wheat")
    evaluated = make.evaluation(make.bits(400, 1), labels=labels)
    async with refused("FAILED_PRECONDITION", "without 'grain'; added 'wheat'"):
        await _against_production(client, make, labels=labels, evaluated=evaluated)


async def test_a_tighter_input_limit_is_refused(client, make, refused):
    evaluated = make.evaluation(make.bits(400, 1))
    async with refused("FAILED_PRECONDITION", "at most 100 bytes"):
        await _against_production(client, make, max_text_bytes=100, evaluated=evaluated)


async def test_the_way_back_is_open_whatever_the_evidence_says_now(client, make):
    await _second(client, make, make.bits(400, 20), make.bits(400, 5))
    event = await client.move(1, reason="rollback")
    assert (event.sequence, event.stable_version) == (3, 1)
    assert "returns to version 1, which event 1" in event.gate_summary


async def test_the_canary_takes_a_worse_model_but_not_an_unmeasured_one(client, make, refused):
    await client.publish(make.good(0, num_wrong=10), publish_id="p0")
    await client.publish(make.good(1, num_wrong=200), publish_id="p1")
    await client.publish(make.files(b"unmeasured"), publish_id="p2")
    await client.move(1)
    assert (await client.move(2, alias="canary")).stable_version == 2
    async with refused("FAILED_PRECONDITION"):
        await client.move(3, alias="canary")
    async with refused("FAILED_PRECONDITION"):
        await client.move(2, alias="staging")


async def test_an_alias_without_a_gate_is_a_setting(start, make):
    async with start(ungated_aliases=("playground",)) as registry, registry.client() as client:
        await client.publish(make.files())
        assert (await client.move(1, alias="playground")).gate_summary == "default policy: nothing asked"


async def test_an_evaluation_of_other_labels_than_the_models_is_refused_at_publish(client, make, refused):
    evaluated = make.evaluation(make.bits(400, 1), labels=("a", "b"))
    async with refused("INVALID_ARGUMENT", "counts 2 labels"):
        await client.publish(make.files(evaluated=evaluated))
