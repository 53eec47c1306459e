# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Feedback is held against the prediction that it is about, where this gateway knows it."""

import pytest

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman_common.errors import InvalidArgumentError, PermissionDeniedError
from dragoman_gateway.feedback import FeedbackDesk, TrueLabel
from dragoman_gateway.policy import Principal

ANN = Principal(tenant="local", subject="ann")
UNKNOWN = "f" * 32


@pytest.fixture
def desk(world):
    return FeedbackDesk(world.journal, world.recent, world.limits, world.clock)


async def answered(world, *texts):
    return (await world.pipeline.classify(world.call(*texts))).request_id


def label(request_id, row=0, true_label="grain"):
    return TrueLabel(request_id=request_id, row=row, true_label=true_label)


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"row": 2}, r"items\[1\]\.row is 2; that request had 2 rows"),
        ({"row": -1}, r"items\[1\]\.row is -1"),
        ({"true_label": "grian"}, r"items\[1\]\.true_label 'grian' is no label of r8"),
        ({"true_label": "Grain"}, "no label of r8"),
        ({"true_label": "x" * 129}, r"items\[1\]\.true_label has 129 characters; send 1 to 128"),
        ({"true_label": ""}, r"items\[1\]\.true_label has 0 characters"),
    ],
)
async def test_feedback_that_contradicts_its_prediction_is_refused_whole(world, desk, item, text):
    request_id = await answered(world, "oil", "grain")
    world.journal.records.clear()
    with pytest.raises(InvalidArgumentError, match=text):
        await desk.accept(ANN, [label(request_id), label(request_id, **item)])
    assert world.journal.records == []
    assert await desk.accept(ANN, [label(request_id, row=row) for row in (0, 1)]) == 2


async def test_feedback_on_what_this_gateway_does_not_know_is_accepted(world, desk):
    label_of_another = "é" * 128
    assert await desk.accept(ANN, [label(UNKNOWN, row=255, true_label=label_of_another)]) == 1


async def test_what_is_remembered_is_bounded_and_the_oldest_leaves(world, desk):
    request_ids = [await answered(world, "oil") for _ in range(4)]
    assert await desk.accept(ANN, [label(request_ids[0], true_label="of the monitor's to judge")]) == 1
    for request_id in request_ids[1:]:
        with pytest.raises(InvalidArgumentError, match="no label"):
            await desk.accept(ANN, [label(request_id, true_label="typo")])


async def test_another_tenant_learns_nothing_of_a_prediction(world, desk):
    request_id = await answered(world, "oil")
    stranger = Principal(tenant="acme", subject="eve", models=frozenset({"bbc"}))
    assert await desk.accept(stranger, [label(request_id, row=9, true_label="typo")]) == 1


async def test_a_token_for_other_models_may_not_label_this_one(world, desk):
    request_id = await answered(world, "oil")
    world.journal.records.clear()
    limited = Principal(tenant="local", subject="bob", models=frozenset({"bbc"}))
    with pytest.raises(PermissionDeniedError, match="r8"):
        # Before it is told anything about the prediction's rows and labels.
        await desk.accept(limited, [label(UNKNOWN), label(request_id, row=9, true_label="typo")])
    assert world.journal.records == []
    allowed = Principal(tenant="local", subject="bob", models=frozenset({"bbc", "r8"}))
    assert await desk.accept(allowed, [label(request_id)]) == 1


async def test_a_failed_call_is_not_remembered(world, desk):
    world.journal.is_away = True
    with pytest.raises(Exception, match="away"):
        await answered(world, "oil")
    world.journal.is_away = False
    assert len(world.recent._calls) == 0


async def test_over_the_wire(gateway):
    answer = await gateway.classify("oil")

    async def send(metadata, **changes):
        item = pb.FeedbackItem(**({"request_id": answer.request_id, "row": 0, "true_label": "grain"} | changes))
        request = pb.SendFeedbackRequest(items=[item])
        return await gateway.refused(gateway.own.SendFeedback(request, metadata=metadata, timeout=5))

    code, details = await send(gateway.auth(), row=1)
    assert (code.name, "items[0].row is 1" in details) == ("INVALID_ARGUMENT", True)
    code, details = await send(gateway.auth(), true_label="typo")
    assert (code.name, "items[0].true_label" in details) == ("INVALID_ARGUMENT", True)
    code, _ = await send(gateway.auth(models=["bbc"]))
    assert code.name == "PERMISSION_DENIED"
    assert gateway.events("dragoman.feedback") == []
