# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A crooked stream of predictions and feedback, as the gateway writes them: all that a reader of the topics must stand.

The gateway's records -> its journal's messages, and copies, and messages that are crooked in one thing each -> shuffled
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dragoman_events.ports import Message
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_gateway.durability import parse_durability
from dragoman_gateway.journal import outgoing_of
from dragoman_gateway.record import FeedbackRecord, PredictionRecord

# Two labels that UTF-16 and Unicode order differently: ties are settled by the text.
LABELS = ("acq", "crude", "earn", "Öl", "\uffee", "\U0001d11e")
UNKNOWN_LABELS = ("typo", "crudee")


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Messages by topic in the order of writing, and what is true of them by construction."""

    messages: Mapping[str, Sequence[Message]]
    num_tokens: int
    """Of tenant acme's model r8, each row once."""


def stream(*, num_calls: int, seed: int = 12) -> Stream:
    """Two tenants, two models, three arms; duplicates, corrections, ties, late and lonely events, poison; shuffled."""
    rng = random.Random(seed)
    now = datetime.now(UTC)
    predictions = [row for number in range(num_calls) for row in _call(rng, number, now)]
    feedback = [label for row in predictions if row.arm != "shadow" for label in _labels(rng, row, now)]
    feedback += [replace(label, request_id=f"{rng.getrandbits(128):032x}") for label in feedback[:20]]
    messages = {}
    for topic, records in ((PREDICTIONS, predictions), (FEEDBACK, feedback)):
        copies = [record for record in records if rng.random() < 0.1]
        messages[topic] = [*_messages([*records, *copies]), *_poison(_messages(records[:1])[0], topic)]
        rng.shuffle(messages[topic])
    ours = [row for row in predictions if (row.tenant, row.model) == ("acme", "r8")]
    return Stream(messages=messages, num_tokens=sum(row.num_tokens for row in ours))


def lonely_prediction(*, tenant: str) -> Message:
    """A good one that nothing belongs to."""
    row = _call(random.Random(1), 1, datetime.now(UTC))[0]
    return _messages([replace(row, tenant=tenant)])[0]


def _call(rng: random.Random, number: int, now: datetime) -> list[PredictionRecord]:
    arm = rng.choice(("stable", "stable", "stable", "canary"))
    request_id = f"{rng.getrandbits(128):032x}"
    tenant = rng.choice(("acme", "acme", "acme", "globex"))
    model = rng.choice(("r8", "r8", "r8", "ag_news"))
    # A late event: its call was accepted days ago.
    age = timedelta(days=20) if number % 25 == 0 else timedelta(seconds=rng.uniform(0, 900))
    rows = []
    for row in range(rng.randint(1, 3)):
        code = rng.choice(("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")) if rng.random() < 0.08 else "OK"
        num_tokens = rng.randrange(0, 200)
        answered = PredictionRecord(
            tenant=tenant,
            subject="somebody",
            request_id=request_id,
            row=row,
            model=model,
            version=2 if arm == "canary" else 1,
            root_sha256="0" * 64,
            arm=arm,
            code=code,
            label=rng.choice(LABELS) if code == "OK" else "",
            score=rng.random() if code == "OK" else 0.0,
            num_tokens=num_tokens,
            num_unknown_tokens=rng.randint(0, num_tokens),
            truncated=rng.random() < 0.1,
            accept_time=now - age,
            latency_ms=rng.lognormvariate(1, 1),
        )
        rows.append(answered)
        if arm == "stable" and number % 3 == 0 and code == "OK":
            rows.append(replace(answered, arm="shadow", version=2, label=rng.choice(LABELS)))
    return rows


def _labels(rng: random.Random, row: PredictionRecord, now: datetime) -> list[FeedbackRecord]:
    """None, one, or several for one row: the newest holds; of equally new ones the text that is later in Unicode."""
    if rng.random() < 0.3:
        return []
    label = FeedbackRecord(
        tenant=row.tenant,
        subject="somebody",
        request_id=row.request_id,
        row=row.row,
        true_label=rng.choice((row.label or "earn", rng.choice(LABELS), rng.choice(UNKNOWN_LABELS))),
        receive_time=now - timedelta(seconds=rng.uniform(0, 300)),
    )
    corrected = replace(label, true_label=rng.choice(LABELS), receive_time=label.receive_time + timedelta(seconds=1))
    tied = [replace(label, true_label=text) for text in ("\uffee", "\U0001d11e", "crude")]
    return rng.choices(([label], [label, corrected], tied), weights=(7, 2, 1))[0]


def _messages(records: Iterable[PredictionRecord | FeedbackRecord]) -> list[Message]:
    # A tenant that is sampled: its events say what they stand for, and count once here as everywhere.
    of_tenant = {"globex": parse_durability("sampled:4")}
    durability = parse_durability("acked")
    return [outgoing_of(record, of_tenant.get(record.tenant, durability)).message for record in records]


def _poison(good: Message, topic: str) -> list[Message]:
    """What no reader may count; each is one event that differs from a good one in one thing."""
    now = datetime.now(UTC)
    fresh = {"tenant": "acme", "subject": "s", "request_id": "p" * 32, "row": 0}

    def prediction(**changes: object) -> PredictionRecord:
        fields: dict[str, Any] = {
            "model": "r8",
            "version": 1,
            "root_sha256": "0" * 64,
            "arm": "stable",
            "code": "OK",
            "label": "earn",
            "score": 0.5,
            "accept_time": now,
            "latency_ms": 1.0,
        }
        return PredictionRecord(**(fresh | fields | changes))

    def feedback(**changes: object) -> FeedbackRecord:
        return FeedbackRecord(**(fresh | {"true_label": "earn", "receive_time": now} | changes))

    def headers(**changes: bytes) -> Message:
        named = {name.replace("content_type", "content-type"): value for name, value in changes.items()}
        return replace(good, headers=dict(good.headers) | named)

    crooked: list[PredictionRecord | FeedbackRecord]
    if topic == PREDICTIONS:
        crooked = [
            *(prediction(score=score) for score in (float("nan"), 1.5, -0.1)),
            *(prediction(latency_ms=latency) for latency in (float("nan"), float("inf"), -1.0)),
            *(prediction(label=label) for label in ("", "x" * 990_000, "x" * 129, "nul\0")),
            *(prediction(version=version) for version in (0, -1)),
            *(prediction(row=row) for row in (-1, 1_000_001)),
            prediction(arm="blue"),
            prediction(code="ok"),
            prediction(model="m" * 257),
            prediction(num_tokens=1, num_unknown_tokens=2),
            prediction(accept_time=datetime(1970, 1, 1, tzinfo=UTC)),
            # Of the other topic.
            feedback(),
        ]
    else:
        crooked = [
            *(feedback(true_label=label) for label in ("", "x" * 129, "nul\0")),
            feedback(row=-1),
            feedback(receive_time=datetime(1970, 1, 1, tzinfo=UTC)),
            prediction(),
        ]
    return [
        *_messages(crooked),
        replace(good, value=b"\xff\xff\xff"),
        replace(good, value=b""),
        # A text field that is not UTF-8: number 1, two bytes.
        replace(good, value=b"\x0a\x02\xff\xfe"),
        replace(good, headers={}),
        headers(ce_type=b"dragoman.events.v9.Prediction"),
        headers(content_type=b"application/json"),
        headers(ce_specversion=b"0.3"),
        headers(ce_id=b"\xff"),
        headers(ce_id=b""),
        headers(ce_source=b""),
        headers(ce_time=b"yesterday"),
        headers(ce_subject=b"x" * 1025),
        headers(ce_subject=b"line\nfeed"),
        headers(ce_UPPER=b"x"),
        headers(ce_tenant=b"other"),
        headers(ce_tenant=b"\xff"),
        headers(ce_requestid=b"other"),
        headers(ce_sampledrate=b"0"),
        headers(ce_sampledrate="٣".encode()),
    ]
