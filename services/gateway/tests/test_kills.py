# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A real gateway process, killed at every point of a call: an answer that was OK has its event in the log.

failpoint process -> SIGKILL at the n-th pass -> a gateway on the same spool and log -> replay -> the oracle
"""

import asyncio
import json
import os
import signal
import sys
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman_events.opening import open_log

ENTRY = Path(__file__).with_name("failpoint_gateway.py")
NUM_CLIENTS = 8
NTH = 25

ACKED = ({}, [])
SPOOLED = ({"EVENT_DURABILITY": "spooled"}, [])
AWAY = ({}, ["LOG_AWAY"])
SPOOLED_AWAY = ({"EVENT_DURABILITY": "spooled"}, ["LOG_AWAY"])
SAMPLED = ({"EVENT_DURABILITY": "sampled:3"}, [])
CASES = [
    *((point, ACKED) for point in ("before_inference", "after_inference", "before_acknowledge", "after_acknowledge")),
    *((point, ACKED) for point in ("before_reply", "after_reply")),
    *((point, SPOOLED) for point in ("before_spool", "after_spool", "before_acknowledge", "before_drop")),
    *((point, SPOOLED) for point in ("before_reply", "after_reply")),
    *((point, AWAY) for point in ("before_spool", "after_spool", "after_reply")),
    ("after_reply", SPOOLED_AWAY),
    ("after_reply", SAMPLED),
]


def name_of(value):
    if isinstance(value, str):
        return value
    settings, words = value
    return "-".join([settings.get("EVENT_DURABILITY", "acked").replace(":", "-"), *words])


async def killed(platform, running_gateway, point, settings, words):
    """Run a gateway until it kills itself; returns the request ids of what was answered OK, by kind."""
    environment = platform.environment() | {f"DRAGOMAN_GATEWAY_{name}": value for name, value in settings.items()}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ENTRY), point, str(NTH), *words, env=clean | environment, stderr=asyncio.subprocess.DEVNULL
    )
    predicted, labelled = set(), set()
    try:
        ready = platform.folder / "grpc.ready"
        await running_gateway.eventually(ready.exists, timeout_s=30)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{json.loads(ready.read_text())['port']}") as channel:
            gateway = running_gateway.Gateway(platform, channel, 0)
            await gateway.eventually(lambda: running_gateway.is_serving(channel))

            async def client():
                with suppress(grpc.aio.AioRpcError):
                    while True:
                        request_id = (await gateway.classify("oil", "grain")).request_id
                        predicted.add(request_id)
                        item = pb.FeedbackItem(request_id=request_id, row=1, true_label="acq")
                        request = pb.SendFeedbackRequest(items=[item])
                        await gateway.own.SendFeedback(request, metadata=gateway.auth(), timeout=10)
                        labelled.add(request_id)

            async with asyncio.timeout(60):
                await asyncio.gather(*(client() for _ in range(NUM_CLIENTS)))
                assert await process.wait() == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        ready.unlink(missing_ok=True)
        (platform.folder / "http.ready").unlink(missing_ok=True)
    return predicted, labelled


def in_log(folder, topic):
    """(request id, row) -> the event ids under which it is in the log, one entry for each time."""
    log = open_log(f"sqlite://{folder}/events.db")
    found = defaultdict(list)
    try:
        for record in log.read(topic, 0, 100_000):
            event = record.event()
            if topic == "dragoman.predictions":
                request_id, row = event.id.split("/")
                found[request_id, int(row)].append(event.id)
            else:
                found[event.extensions["requestid"], 1].append(event.id)
    finally:
        log.close()
    return found


async def check_kill(platform, running_gateway, point, settings, words):
    """Kill a gateway, start another on what it left, and compare what was answered with what is in the log."""
    settings = settings | {"SPOOL_FOLDER": str(platform.folder / "spool")}
    predicted, labelled = await killed(platform, running_gateway, point, settings, words)
    assert len(predicted) >= 3, "killed before anything was answered"

    async with running_gateway.gateway_running(platform, **settings):
        spool = open_log(f"sqlite://{platform.folder}/spool/spool.db")
        await running_gateway.eventually(
            lambda: not any(spool.read(topic, 0, 1) for topic in ("dragoman.predictions", "dragoman.feedback"))
        )
        spool.close()
    if "sampled" in settings.get("EVENT_DURABILITY", ""):
        predicted = {request_id for request_id in predicted if int(request_id, 16) % 3 == 0}
        labelled &= predicted
    predictions = in_log(platform.folder, "dragoman.predictions")
    feedback = in_log(platform.folder, "dragoman.feedback")
    lost = {(request_id, row) for request_id in predicted for row in (0, 1)} - predictions.keys()
    lost |= {(request_id, 1) for request_id in labelled} - feedback.keys()
    assert not lost, f"{len(lost)} events of calls that were answered OK are lost"
    # Some may be there twice, by one id, which is what readers go by; and nothing that was never asked.
    assert all(len(set(ids)) == 1 for ids in (predictions | feedback).values())
    assert len({request_id for request_id, _ in predictions} - predicted) <= NUM_CLIENTS


@pytest.mark.parametrize(("point", "case"), CASES, ids=name_of)
async def test_an_answer_that_was_ok_has_its_event_in_the_log(platform, running_gateway, point, case):
    await check_kill(platform, running_gateway, point, *case)


@pytest.mark.parametrize(
    ("point", "case"),
    [("before_acknowledge", ({}, ["ANSWER_FIRST"])), ("before_acknowledge", (SPOOLED[0], ["DROP_FIRST"]))],
    ids=name_of,
)
async def test_the_test_above_finds_the_defects_that_it_is_for(platform, running_gateway, point, case):
    with pytest.raises(AssertionError, match="answered OK are lost"):
        await check_kill(platform, running_gateway, point, *case)
