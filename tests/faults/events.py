# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Events as a gateway writes them, the same for the same number, and events that no gateway writes."""

import random
from dataclasses import replace

from dragoman.events.v1 import events_pb2 as pb
from dragoman_events.message_event import event_of
from dragoman_events.ports import Message
from dragoman_events.topics import message_key
from dragoman_monitor.convert import time_to_pb

START_US = 1_772_366_400_000_000
MINUTE_US = 60_000_000
LABELS = ("acq", "crude", "earn", "trade")
LONG_AGO_MINUTES = 10_000


def prediction(number, **changes):
    """The number-th row; one in twenty is of a week before the others: it comes late."""
    rng = random.Random(number)
    is_refused = number % 17 == 0
    minutes = -LONG_AGO_MINUTES if number % 20 == 0 else 0
    fields = {
        "tenant": ("acme", "globex")[number % 2],
        "request_id": f"{number:032x}",
        "row": 0,
        "model": "r8",
        "version": 1 + number % 3,
        "arm": "canary" if number % 5 == 0 else "stable",
        "code": "DEADLINE_EXCEEDED" if is_refused else "OK",
        "label": "" if is_refused else rng.choice(LABELS),
        "score": rng.random(),
        "num_tokens": rng.randrange(1, 200),
        "num_unknown_tokens": rng.randrange(2),
        "truncated": number % 11 == 0,
        "accept_time": time_to_pb(START_US + minutes * MINUTE_US + rng.randrange(5 * MINUTE_US)),
        "latency_ms": rng.lognormvariate(1, 1),
    }
    return message(pb.Prediction(**fields | changes), f"{number:032x}/0")


def feedback(number):
    """The true label of that row; one in ten names a row that never comes."""
    never = 10**9 if number % 10 == 0 else 0
    value = pb.Feedback(
        tenant=("acme", "globex")[number % 2],
        request_id=f"{never + number:032x}",
        row=0,
        true_label=random.Random(-number).choice(LABELS),
        receive_time=time_to_pb(START_US + number),
    )
    return message(value, f"f-{number}")


def message(value, event_id):
    event = event_of(
        value,
        source="dragoman/gateway",
        event_id=event_id,
        extensions={"tenant": value.tenant, "requestid": value.request_id},
    )
    return Message.of(message_key(value.tenant, value.request_id), event)


def poison():
    """One of every kind of event that must be refused."""
    good = prediction(1)
    headers = dict(good.headers)
    return [
        replace(good, value=b"\xff\xfe not protobuf"),
        replace(good, value=b""),
        replace(good, headers={}),
        replace(good, headers=headers | {"ce_type": b"dragoman.events.v99.Prophecy"}),
        replace(good, headers=headers | {"ce_specversion": b"9.9"}),
        replace(good, headers=headers | {"ce_tenant": b"somebody-else"}),
        prediction(2, model="m" * 1_000_000),
        prediction(3, label="l" * 1_000_000),
        prediction(4, latency_ms=float("nan")),
        prediction(5, score=float("nan")),
        prediction(6, latency_ms=float("inf")),
        prediction(7, score=-1.0),
        prediction(8, request_id=""),
    ]
