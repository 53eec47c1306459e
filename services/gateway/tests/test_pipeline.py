# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One prediction: what is answered, what is recorded, and in which order."""

import asyncio
import dataclasses

import numpy as np
import pytest

from dragoman_common.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    OverloadedError,
    PermissionDeniedError,
    UnavailableError,
)
from dragoman_gateway.limits import Limits
from dragoman_gateway.outcome import ContractBrokenError
from dragoman_gateway.policy import Principal
from dragoman_gateway.version import ModelNotFoundError


async def test_each_row_is_one_answer_and_one_event(world):
    answer = await world.pipeline.classify(world.call("grain exports rose", "oil"))
    assert [row.num_tokens for row in answer.rows] == [3, 1]
    assert [record.row for record in world.journal.records] == [0, 1]
    first = world.journal.records[0]
    assert (first.code, first.tenant, first.subject, first.version, first.arm) == ("OK", "local", "ann", 1, "stable")
    assert first.label == answer.rows[0].label
    assert first.request_id == answer.request_id
    assert first.text_bytes == len("grain exports rose")


async def test_the_event_is_recorded_before_the_answer(world):
    released = asyncio.Event()
    record = world.journal.record

    async def slow(records):
        await released.wait()
        await record(records)

    world.journal.record = slow
    call = asyncio.ensure_future(world.pipeline.classify(world.call("oil")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not call.done()
    released.set()
    await call
    assert len(world.journal.records) == 1


async def test_no_event_no_answer(world):
    world.journal.is_away = True
    with pytest.raises(UnavailableError):
        await world.pipeline.classify(world.call("oil"))


async def test_a_deadline_spent_in_the_tokenizer_ends_the_call_before_dispatch(world):
    encode = world.tokenizer.encode

    async def slow(*arguments):
        encoded = await encode(*arguments)
        world.budget.left_s = 0.0
        return encoded

    world.tokenizer.encode = slow
    with pytest.raises(DeadlineExceededError, match="dispatch"):
        await world.pipeline.classify(world.call("oil"))
    assert world.scorer.calls == []
    assert [record.code for record in world.journal.records] == ["DeadlineExceededError"]


@pytest.mark.looptime
async def test_no_call_outlives_its_deadline(world):
    world.budget.left_s = 2.0

    async def never(*_):
        await asyncio.Event().wait()

    world.scorer.score = never
    with pytest.raises(DeadlineExceededError):
        await world.pipeline.classify(world.call("oil"))
    assert asyncio.get_running_loop().time() == 2.0


async def test_a_cancelled_caller_disturbs_nobody(world):
    started, released = asyncio.Event(), asyncio.Event()
    score = world.scorer.score

    async def held(*arguments):
        started.set()
        await released.wait()
        return await score(*arguments)

    world.scorer.score = held
    leaving = asyncio.ensure_future(world.pipeline.classify(world.call("oil")))
    staying = asyncio.ensure_future(world.pipeline.classify(world.call("grain")))
    await started.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    released.set()
    assert (await staying).rows[0].num_tokens == 1
    assert sorted(record.code for record in world.journal.records) == ["CANCELLED", "OK"]


@pytest.mark.parametrize(("left_s", "code"), [(10.0, "CANCELLED"), (0.01, "DEADLINE_EXCEEDED"), (None, "CANCELLED")])
async def test_a_caller_that_hangs_up_at_its_deadline_is_recorded_as_late(world, left_s, code):
    started = asyncio.Event()

    async def held(*_):
        started.set()
        world.budget.left_s = left_s
        await asyncio.Event().wait()

    world.scorer.score = held
    call = asyncio.ensure_future(world.pipeline.classify(world.call("oil")))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [record.code for record in world.journal.records] == [code]


async def test_a_refused_row_fails_the_call_and_leaves_an_event_per_row(world):
    with pytest.raises(InvalidArgumentError, match=r"texts\[1\] is empty"):
        await world.pipeline.classify(world.call("oil", ""))
    assert [(record.row, record.code, record.label) for record in world.journal.records] == [
        (0, "InvalidArgumentError", ""),
        (1, "InvalidArgumentError", ""),
    ]


async def test_no_event_before_a_version_is_chosen(world):
    for call in (world.call("oil", model="r9"), world.call("oil", model="r8@canary"), world.call(*["oil"] * 257)):
        with pytest.raises((ModelNotFoundError, InvalidArgumentError)):
            await world.pipeline.classify(call)
    assert world.journal.records == []


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ((), "texts: no rows"),
        (("oil", " \n"), r"texts\[1\] holds only white space"),
        (("x" * 1_001,), r"texts\[0\] has 1001 bytes, over max_text_bytes = 1000"),
        (("é" * 501,), r"texts\[0\] has 1002 bytes"),
        (("oil",) * 257, "texts: 257 rows, at most 256"),
    ],
)
async def test_refusals_name_the_row_and_the_limit(world, texts, message):
    with pytest.raises(InvalidArgumentError, match=message):
        await world.pipeline.classify(world.call(*texts))
    assert world.tokenizer.num_calls == 0


async def test_rows_that_are_too_long_together_are_refused_before_a_worker_sees_them(make):
    world = make.world(limits=Limits(max_call_tokens=5, max_message_bytes=60))
    world.publish(make.key())
    with pytest.raises(InvalidArgumentError, match="texts: 6 tokens together, at most 5"):
        await world.pipeline.classify(world.call("a b c", "d e f"))
    with pytest.raises(InvalidArgumentError, match="texts: 40 bytes together, at most 30"):
        await world.pipeline.classify(world.call("x" * 20, "x" * 20))
    assert world.scorer.calls == []


async def test_a_token_asks_only_the_models_it_names(world):
    allowed = Principal(tenant="local", subject="ann", models=frozenset({"r8"}))
    assert (
        await world.pipeline.classify(world.call("oil", model="r8@prod", principal=allowed))
    ).version.key.model == "r8"
    other = Principal(tenant="local", subject="ann", models=frozenset({"bbc"}))
    with pytest.raises(PermissionDeniedError, match="r8"):
        await world.pipeline.classify(world.call("oil", principal=other))


async def test_an_unknown_model_reads_the_same_whether_or_not_another_tenant_has_it(world, make):
    world.publish(make.key(3, tenant="acme", model="secret"), ready_at=("worker-a",))
    messages = []
    for model in ("secret", "absent"):
        with pytest.raises(ModelNotFoundError) as caught:
            await world.pipeline.classify(world.call("oil", model=model))
        messages.append(caught.value.message.replace(model, "MODEL"))
    assert messages[0] == messages[1]


async def test_a_worker_away_is_followed_by_another(world, make):
    world.report("worker-b", {make.key(): "READY"}, num_waiting=5)
    world.scorer.failures = {"worker-a": [UnavailableError("gone")]}
    answer = await world.pipeline.classify(world.call("oil"))
    assert world.scorer.calls == ["worker-a", "worker-b"]
    assert len(answer.rows) == 1
    assert [record.code for record in world.journal.records] == ["OK"]


async def test_a_third_failure_is_the_callers(world):
    world.scorer.failures = {"worker-a": [UnavailableError("gone")] * 3}
    with pytest.raises(UnavailableError):
        await world.pipeline.classify(world.call("oil"))
    assert world.scorer.calls == ["worker-a"] * 3


@pytest.mark.looptime
async def test_a_call_waits_for_a_version_that_is_starting_again(world, make):
    world.report("worker-a", {make.key(): "LOADING"})
    call = asyncio.ensure_future(world.pipeline.classify(world.call("oil")))
    await asyncio.sleep(3)
    assert not call.done()
    world.report("worker-a", {make.key(): "READY"})
    await call
    assert asyncio.get_running_loop().time() == 3.0


async def test_a_call_that_meets_the_swap_is_answered_by_the_new_version(world, make):
    encode = world.tokenizer.encode

    async def swap_meanwhile(*arguments):
        if world.tokenizer.num_calls == 0:
            world.publish(make.key(2), sequence=2, ready_at=())
            world.report("worker-a", {make.key(1): "DRAINING", make.key(2): "READY"})
        return await encode(*arguments)

    world.tokenizer.encode = swap_meanwhile
    answer = await world.pipeline.classify(world.call("oil"))
    assert answer.version.key.number == 2
    assert [(record.version, record.code) for record in world.journal.records] == [(2, "OK")]


@pytest.mark.looptime
async def test_a_waiting_call_hears_of_an_alias_that_moved(world, make):
    world.report("worker-a", {make.key(1): "DRAINING"})
    call = asyncio.ensure_future(world.pipeline.classify(world.call("oil")))
    await asyncio.sleep(1)
    # The worker was ready for the new version before the gateway heard of the move.
    world.report("worker-a", {make.key(2): "READY"})
    await asyncio.sleep(1)
    assert not call.done()
    world.publish(make.key(2), sequence=2, ready_at=())
    assert (await call).version.key.number == 2
    assert asyncio.get_running_loop().time() == 2.0


@pytest.mark.looptime
async def test_the_wait_for_a_worker_is_bounded(world):
    world.workers.drop("worker-a")
    with pytest.raises(UnavailableError, match="10 s"):
        await world.pipeline.classify(world.call("oil"))
    assert asyncio.get_running_loop().time() == 10.0


async def test_a_version_that_nothing_points_at_is_refused_at_once(world, make):
    world.catalogue.add(make.served(make.key(2)))
    with pytest.raises(FailedPreconditionError, match="version 2"):
        await world.pipeline.classify(world.call("oil", version=2))


async def test_more_calls_than_the_limit_are_refused_with_a_delay(world):
    started, released = asyncio.Queue(), asyncio.Event()

    async def held(*_):
        started.put_nowait(1)
        await released.wait()
        raise UnavailableError("enough")

    world.tokenizer.encode = held
    calls = [asyncio.ensure_future(world.pipeline.classify(world.call("oil"))) for _ in range(4)]
    for _ in calls:
        await started.get()
    with pytest.raises(OverloadedError) as caught:
        await world.pipeline.classify(world.call("oil"))
    assert caught.value.retry_after_s == 1.0
    released.set()
    await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("damage", ["nan", "shape", "sum"])
async def test_scores_that_are_no_probabilities_never_reach_a_caller(world, damage):
    score = world.scorer.score

    async def broken(*arguments):
        scores_NC = await score(*arguments)
        if damage == "shape":
            return scores_NC[:, :-1]
        scores_NC[0, 0] = float("nan") if damage == "nan" else 3.0
        return scores_NC

    world.scorer.score = broken
    with pytest.raises(ContractBrokenError):
        await world.pipeline.classify(world.call("oil"))


@pytest.mark.parametrize("damage", ["no ids", "too many ids", "a row short"])
async def test_a_tokenizer_that_breaks_its_contract_reaches_no_worker(world, damage):
    encode = world.tokenizer.encode

    async def broken(*arguments):
        encoded = await encode(*arguments)
        if damage == "a row short":
            return dataclasses.replace(encoded, truncated=encoded.truncated[:-1])
        lengths = np.array([0, 2] if damage == "no ids" else [1, 2], dtype=np.int32)
        return dataclasses.replace(encoded, lengths=lengths)

    world.tokenizer.encode = broken
    with pytest.raises(ContractBrokenError):
        await world.pipeline.classify(world.call("oil", "grain"))
    assert world.scorer.calls == []


async def test_text_is_in_no_record(world):
    with pytest.raises(InvalidArgumentError) as caught:
        await world.pipeline.classify(world.call("canary-4711", " "))
    await world.pipeline.classify(world.call("canary-4711"))
    assert "canary-4711" not in repr(world.journal.records) + caught.value.message
