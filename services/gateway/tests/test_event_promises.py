# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Durability as callers and consumers see it: the wired gateway, its log held by somebody else, its events' headers."""

import sqlite3

import aiohttp
import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman_events.opening import open_log

PREDICTIONS, FEEDBACK = "dragoman.predictions", "dragoman.feedback"


@pytest.fixture
def held(platform):
    """Keep other writers out of the event log until released, as a log that is away does."""

    class Held:
        def __enter__(self):
            self._connection = sqlite3.connect(platform.folder / "events.db", isolation_level=None)
            self._connection.execute("BEGIN IMMEDIATE")
            return self

        def __exit__(self, *_):
            self._connection.close()

    return Held()


def records(gateway, topic):
    log = open_log(f"sqlite://{gateway.platform.folder}/events.db")
    try:
        return [record.event() for record in log.read(topic, 0, 1_000)]
    finally:
        log.close()


def retry_delay_s(error):
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    return info.retry_delay.ToTimedelta().total_seconds()


async def is_answered(gateway):
    try:
        return await gateway.classify("oil", "grain")
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return None


async def feedback(gateway, request_id, **claims):
    item = pb.FeedbackItem(request_id=request_id, row=0, true_label="acq")
    request = pb.SendFeedbackRequest(items=[item])
    return await gateway.own.SendFeedback(request, metadata=gateway.auth(**claims), timeout=10)


async def test_while_the_log_is_away_calls_are_answered_from_the_spool_until_it_is_full(
    platform, running_gateway, held
):
    settings = {"SPOOL_FOLDER": str(platform.folder / "spool"), "SPOOL_MAX_EVENTS": "5", "EVENT_ACK_TIMEOUT_MS": "50"}
    async with running_gateway.gateway_running(platform, **settings) as gateway:
        first = await gateway.classify("oil")
        with held:
            answered = [(await gateway.classify("oil", "grain")).request_id for _ in range(2)]
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await gateway.classify("oil", "grain")
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert retry_delay_s(refused.value) == 5.0
            num_inferences = len(platform.worker.calls)
            headers = {"Authorization": f"Bearer {platform.token()}"}
            tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["oil", "grain"]}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.post(f"{gateway.url}/v2/models/r8/infer", json={"inputs": [tensor]}) as response,
            ):
                assert (response.status, response.headers["Retry-After"]) == (429, "5")
            # It was turned away before any work was done for it.
            assert len(platform.worker.calls) == num_inferences
        expected = {first.request_id, *answered}
        await gateway.eventually(
            lambda: expected <= {event.request_id for event in gateway.events() if event.code == "OK"}
        )
        # There is room again without anybody's doing.
        await gateway.eventually(lambda: is_answered(gateway))


async def test_a_sampled_tenant_keeps_one_request_in_n_and_says_so_on_every_event(platform, running_gateway):
    settings = {"SPOOL_FOLDER": str(platform.folder / "spool"), "EVENT_DURABILITY_TENANTS": "local=sampled:3"}
    async with running_gateway.gateway_running(platform, **settings) as gateway:
        answered = [(await gateway.classify("oil", "grain")).request_id for _ in range(40)]
        for request_id in answered:
            assert (await feedback(gateway, request_id)).num_accepted == 1
        kept = {request_id for request_id in answered if int(request_id, 16) % 3 == 0}
        await gateway.eventually(lambda: len(records(gateway, FEEDBACK)) >= len(kept))
        events = records(gateway, PREDICTIONS)
        assert {event.extensions["requestid"] for event in events} == kept
        assert {event.extensions["requestid"] for event in records(gateway, FEEDBACK)} == kept
        assert len(events) == 2 * len(kept)
        assert {event.extensions["sampledrate"] for event in events + records(gateway, FEEDBACK)} == {"3"}


async def test_a_tenant_that_is_not_sampled_keeps_all_and_says_nothing_of_a_rate(platform, running_gateway):
    settings = {"SPOOL_FOLDER": str(platform.folder / "spool"), "EVENT_DURABILITY_TENANTS": "acme=sampled:1000000"}
    async with running_gateway.gateway_running(platform, **settings) as gateway:
        for _ in range(5):
            await gateway.classify("oil")
        events = records(gateway, PREDICTIONS)
        assert len(events) == 5
        assert all("sampledrate" not in event.extensions for event in events)


async def test_a_call_for_which_there_is_no_room_is_refused_before_it_is_tokenised(world):
    world.journal.is_full = True
    with pytest.raises(Exception, match="no room"):
        await world.pipeline.classify(world.call("oil"))
    assert world.tokenizer.num_calls == 0
