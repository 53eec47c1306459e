# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Events as the gateway writes them, the same for the same number."""

import random

from dragoman.events.v1 import events_pb2 as pb
from dragoman_events.message_event import event_of
from dragoman_events.ports import Message
from dragoman_events.topics import message_key
from dragoman_monitor.convert import time_to_pb

START_US = 1_772_366_400_000_000


def prediction(number: int) -> Message:
    rng = random.Random(number)
    return message(
        pb.Prediction(
            tenant="acme",
            request_id=f"{rng.getrandbits(128):032x}",
            model="r8",
            version=1,
            root_sha256="0" * 64,
            arm="stable",
            code="OK",
            label=rng.choice(("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")),
            score=rng.random(),
            num_tokens=rng.randrange(20, 128),
            num_unknown_tokens=1,
            text_bytes=600,
            accept_time=time_to_pb(START_US + number * 1_000),
            latency_ms=rng.lognormvariate(1, 1),
            subject="bench",
        )
    )


def feedback(number: int) -> Message:
    return message(
        pb.Feedback(
            tenant="acme",
            request_id=f"{random.Random(number).getrandbits(128):032x}",
            true_label="earn",
            receive_time=time_to_pb(START_US + number * 1_000),
        )
    )


def message(value: pb.Prediction | pb.Feedback) -> Message:
    event = event_of(
        value,
        source="dragoman/bench",
        subject="r8/1",
        extensions={"tenant": value.tenant, "requestid": value.request_id, "modelid": "r8", "modelversion": "1"},
    )
    return Message.of(message_key(value.tenant, value.request_id), event)
