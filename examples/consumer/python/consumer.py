# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001  a script, not a package
"""Counts what Dragoman's models did, from its Kafka topics. Imports nothing of Dragoman but the compiled protos.

    dragoman.predictions, dragoman.feedback -> check -> drop repetitions -> join labels to rows -> count -> JSON

How to run it: README.md, one folder up. What the numbers mean: docs/interfaces.md, "Counting events yourself".

The counts live in memory, so every start reads the topics from their beginning, and so does every rebalance: what is
printed is always the whole of the partitions that are named beside it. Offsets are committed all the same, behind the
counting, so that Kafka's tools show the lag. A consumer that keeps its counts in a database would write its offsets in
the same transaction, and begin there.
"""

import argparse
import json
import math
import re
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

# protoc's output stands beside this file; the README has the command.
sys.path.insert(0, str(Path(__file__).parent / "generated"))
from dragoman.events.v1 import events_pb2

PREDICTIONS, FEEDBACK = "dragoman.predictions", "dragoman.feedback"
KINDS: dict[str, type[events_pb2.Prediction] | type[events_pb2.Feedback]] = {
    PREDICTIONS: events_pb2.Prediction,
    FEEDBACK: events_pb2.Feedback,
}
MAX_TIME_US = 253_402_300_799_999_999  # the year 9999
CODE = re.compile(r"[A-Z][A-Z_]{1,31}")
RATE = re.compile(r"[0-9]{1,9}")
EXTENSION = re.compile(r"[a-z0-9]{1,20}")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

RowKey: TypeAlias = tuple[str, str, int]  # tenant, request id, row
Place: TypeAlias = tuple[str, str, int, str, int]  # tenant, model, version, arm, start of the window in microseconds


class PoisonError(Exception):
    """A message that is no event: it is counted as poison, and passed over."""


def require(condition: bool, why: str) -> None:
    if not condition:
        raise PoisonError(why)


# ---- reading: a message of Kafka -> a checked Prediction or Feedback


def envelope(headers: dict[str, bytes], message_type: str) -> dict[str, str]:
    """The CloudEvents attributes of a message in binary mode, without their prefix."""
    require(headers.get("content-type") == b"application/protobuf", "content-type")
    try:
        attributes = {name[3:]: value.decode() for name, value in headers.items() if name.startswith("ce_")}
        require(datetime.fromisoformat(attributes.get("time", "")).tzinfo is not None, "ce_time has no zone")
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise PoisonError("an attribute cannot be read") from error
    require(attributes.get("specversion") == "1.0", "ce_specversion")
    require(attributes.get("type") == message_type, "ce_type")
    require(bool(attributes.get("id") and attributes.get("source")), "ce_id or ce_source is missing")
    for name, value in attributes.items():
        require(bool(EXTENSION.fullmatch(name)) and name not in ("data", "datacontenttype"), "a name")
        require(len(value.encode()) <= 1024 and not CONTROL.search(value), name)
    return attributes


def name_is_good(text: str, max_bytes: int = 256) -> bool:
    return 0 < len(text.encode()) <= max_bytes and "\0" not in text


def label_is_good(text: str) -> bool:
    return name_is_good(text, 512) and len(text) <= 128


def time_us(stamp: Timestamp) -> int:
    """Microseconds since 1970; a time that is missing is 0."""
    us: int = stamp.seconds * 1_000_000 + stamp.nanos // 1_000
    require(0 < us <= MAX_TIME_US, "a time is missing")
    return us


def read(topic: str, headers: dict[str, bytes], value: bytes) -> events_pb2.Prediction | events_pb2.Feedback:
    """The event in a message; raises PoisonError where it is none."""
    event = KINDS[topic]()
    attributes = envelope(headers, event.DESCRIPTOR.full_name)
    try:
        event.ParseFromString(value)
    except DecodeError as error:
        raise PoisonError("the value does not parse") from error
    # Brokers give rights by the envelope: a value that speaks for another tenant must not count.
    require(attributes.get("tenant", event.tenant) == event.tenant, "ce_tenant")
    require(attributes.get("requestid", event.request_id) == event.request_id, "ce_requestid")
    require(name_is_good(event.tenant) and name_is_good(event.request_id), "tenant or request_id")
    require(0 <= event.row <= 1_000_000, "row")
    if isinstance(event, events_pb2.Feedback):
        require(label_is_good(event.true_label), "true_label")
        time_us(event.receive_time)
        return event
    require(name_is_good(event.model) and event.version >= 1, "model or version")
    require(event.arm in ("stable", "canary", "shadow"), "arm")
    require(bool(CODE.fullmatch(event.code)), "code")
    require(0 <= event.latency_ms <= 1e9, "latency_ms")  # false for NaN
    require(0 <= event.num_unknown_tokens <= event.num_tokens, "num_unknown_tokens")
    rate = attributes.get("sampledrate", "1")
    require(bool(RATE.fullmatch(rate)) and 1 <= int(rate) <= 10_000_000, "ce_sampledrate")
    time_us(event.accept_time)
    if event.code == "OK":
        require(label_is_good(event.label), "label")
        require(math.isfinite(event.score) and 0 <= event.score <= 1 + 1e-5, "score")
    return event


# ---- counting: events in any order, and repeated, give the same counts


@dataclass
class Measures:
    """Counts of one version and arm in one window."""

    codes: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(true label, predicted label) -> rows"""
    numbers: Counter[str] = field(default_factory=Counter)
    """truncated, tokens, unknown_tokens"""

    def add(self, other: "Measures") -> None:
        for name in ("codes", "labels", "confusion", "numbers"):
            getattr(self, name).update(getattr(other, name))

    def document(self) -> dict[str, Any]:
        confusion: dict[str, dict[str, int]] = {}
        for (true, predicted), count in self.confusion.items():
            if count:  # a corrected label leaves a 0
                confusion.setdefault(true, {})[predicted] = count
        return {
            "predictions": self.codes.total(),
            "by_code": dict(self.codes),
            "by_label": dict(self.labels),
            "labelled": self.confusion.total(),
            "correct": sum(count for (true, predicted), count in self.confusion.items() if true == predicted),
            "confusion": confusion,
            "truncated": self.numbers["truncated"],
            "tokens": self.numbers["tokens"],
            "unknown_tokens": self.numbers["unknown_tokens"],
        }


@dataclass(slots=True)
class Row:
    """What must be remembered of a row, to know it again and to join its label."""

    arms: dict[str, tuple[Measures, str]] = field(default_factory=dict)
    """Where each arm's prediction was counted, and its answer (empty: refused). A shadow is a copy of a stable row."""
    label: tuple[int, str] | None = None
    """The newest true label with its time; equal times are settled by the text."""


class Counts:
    """Everything that was counted.

    Memory: at most max_rows rows (about 1 KB each). Beyond that the row that came first is forgotten: it stays
    counted, but its repetition would count again and its label would find nothing. Counters grow with the number of
    versions, windows and pairs of labels.
    """

    def __init__(self, window_s: int, max_rows: int) -> None:
        self._window_us = window_s * 1_000_000
        self._max_rows = max_rows
        self.clear()

    def clear(self) -> None:
        self._measures: dict[Place, Measures] = {}
        self._rows: dict[RowKey, Row] = {}
        self._tallies: dict[str, Counter[str]] = {}
        self._forgotten = 0

    def take(self, topic: str, headers: dict[str, bytes], value: bytes) -> None:
        """Count one message, whatever it is."""
        try:
            event = read(topic, headers, value)
        except PoisonError:
            self._tally(claimed_tenant(headers))["poison"] += 1
            return
        row = self._row((event.tenant, event.request_id, event.row))
        if isinstance(event, events_pb2.Prediction):
            self._take_prediction(event, row)
        else:
            self._take_feedback(event, row)

    def _take_prediction(self, event: events_pb2.Prediction, row: Row) -> None:
        # A row has one prediction per arm, under one ce_id: whoever repeats an event keeps both.
        if event.arm in row.arms:
            self._tally(event.tenant)["duplicates"] += 1
            return
        if row.label and not row.arms:
            self._tally(event.tenant)["unjoined_feedback"] -= 1
        window_us = time_us(event.accept_time) // self._window_us * self._window_us if self._window_us else 0
        place = (event.tenant, event.model, event.version, event.arm, window_us)
        measures = self._measures.setdefault(place, Measures())
        answer = event.label if event.code == "OK" else ""
        measures.codes[event.code] += 1
        if answer:
            measures.labels[answer] += 1
            if row.label:
                measures.confusion[row.label[1], answer] += 1
        measures.numbers["truncated"] += event.truncated
        measures.numbers["tokens"] += event.num_tokens
        measures.numbers["unknown_tokens"] += event.num_unknown_tokens
        row.arms[event.arm] = measures, answer

    def _take_feedback(self, event: events_pb2.Feedback, row: Row) -> None:
        older, label = row.label, (time_us(event.receive_time), event.true_label)
        if older:
            self._tally(event.tenant)["duplicates"] += 1
            if label <= older:
                return
        elif not row.arms:
            self._tally(event.tenant)["unjoined_feedback"] += 1
        row.label = label
        for measures, answer in row.arms.values():
            if answer:
                measures.confusion[label[1], answer] += 1
                if older:
                    measures.confusion[older[1], answer] -= 1

    def _row(self, key: RowKey) -> Row:
        row = self._rows.setdefault(key, Row())
        if len(self._rows) > self._max_rows:
            del self._rows[next(iter(self._rows))]
            self._forgotten += 1
        return row

    def _tally(self, tenant: str) -> Counter[str]:
        return self._tallies.setdefault(tenant, Counter())

    def document(self) -> dict[str, Any]:
        versions: dict[tuple[str, str, int, str], tuple[Measures, list[dict[str, Any]]]] = {}
        for place, measures in sorted(self._measures.items(), key=lambda item: item[0]):
            total, windows = versions.setdefault(place[:4], (Measures(), []))
            total.add(measures)
            if self._window_us:
                start = datetime.fromtimestamp(place[4] // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                windows.append({"start_time": start} | measures.document())
        names = ("tenant", "model", "version", "arm")
        return {
            "versions": [
                dict(zip(names, key, strict=True)) | {"total": total.document(), "windows": windows}
                for key, (total, windows) in versions.items()
            ],
            # An empty tenant: poison whose envelope does not say whose it is.
            "tenants": {
                tenant: {name: tally[name] for name in ("duplicates", "unjoined_feedback", "poison")}
                for tenant, tally in self._tallies.items()
            },
            "forgotten_rows": self._forgotten,
        }


def claimed_tenant(headers: dict[str, bytes]) -> str:
    """Whose poison it is, as far as the envelope can be read."""
    raw = headers.get("ce_tenant", b"")
    text = raw.decode(errors="replace")
    return text if len(raw) <= 256 and "\ufffd" not in text and "\0" not in text else ""


# ---- Kafka


class Reading:
    """The consumer group's member, and how far it is."""

    def __init__(self, config: dict[str, Any], counts: Counts, prefix: str) -> None:
        self._counts = counts
        self._prefix = prefix
        self._left: dict[tuple[str, int], int] = {}
        """The partitions that have not reached the end that they had at the start."""
        self.partitions: dict[str, list[int]] | None = None
        self._consumer = Consumer(
            config
            | {
                # Offsets are stored when their message is counted, and committed in the background and at close.
                "enable.auto.commit": True,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                # Gives a member the same partition numbers of both topics, so that a label meets its prediction.
                "partition.assignment.strategy": "range",
            }
        )
        self._consumer.subscribe([prefix + PREDICTIONS, prefix + FEEDBACK], on_assign=self._start_over)

    def _start_over(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._counts.clear()
        self._left, self.partitions = {}, {PREDICTIONS: [], FEEDBACK: []}
        for partition in partitions:
            oldest, end = consumer.get_watermark_offsets(partition, timeout=30)
            if oldest < end:
                self._left[partition.topic, partition.partition] = end
            self.partitions[partition.topic.removeprefix(self._prefix)].append(partition.partition)
            partition.offset = OFFSET_BEGINNING
        consumer.assign(partitions)

    def is_at_end(self) -> bool:
        return self.partitions is not None and not self._left

    def step(self) -> bool:
        """Take the next message, if one comes within a moment; returns whether one came."""
        # One at a time: a batch could hold messages of before a rebalance, which would count twice.
        message = self._consumer.poll(0.2)
        if message is not None:
            self._take(message)
        return message is not None

    def _take(self, message: Message) -> None:
        error = message.error()
        if error and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  that is its public name
            raise KafkaException(error)
        topic, partition, following = message.topic() or "", message.partition() or 0, message.offset() or 0
        if not error:
            headers = cast("dict[str, bytes | None]", dict(message.headers() or []))
            self._counts.take(
                topic.removeprefix(self._prefix),
                {name: text or b"" for name, text in headers.items()},
                message.value() or b"",
            )
            self._consumer.store_offsets(message)
            following += 1
        if following >= self._left.get((topic, partition), math.inf):
            del self._left[topic, partition]

    def close(self) -> None:
        self._consumer.close()


def client_config(path: Path, group: str) -> dict[str, Any]:
    """Settings of librdkafka, one name=value a line: brokers, TLS, SASL are passed through as they are."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {"group.id": group} | {name.strip(): value.strip() for name, value in pairs}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("config", type=Path, help="a file of librdkafka settings: bootstrap.servers=... and so on")
    mode = options.add_mutually_exclusive_group(required=True)
    mode.add_argument("--until-end", action="store_true", help="print once, at the ends that the topics have now")
    mode.add_argument("--follow", action="store_true", help="go on, and print a line every --every-s seconds")
    options.add_argument("--every-s", type=float, default=10.0)
    options.add_argument(
        "--give-up-s", type=float, default=60.0, help="with --until-end: longest time without a message"
    )
    options.add_argument("--group", default="dragoman-example-python")
    options.add_argument("--topic-prefix", default="")
    options.add_argument("--window-s", type=int, default=0, help="also count by windows of accept time of this length")
    options.add_argument("--max-rows", type=int, default=1_000_000, help="rows remembered, about 1 KB each")
    given = options.parse_args()

    counts = Counts(given.window_s, given.max_rows)
    reading = Reading(client_config(given.config, given.group), counts, given.topic_prefix)
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: stopped.append(got))

    def show() -> None:
        print(json.dumps({"partitions": reading.partitions} | counts.document(), ensure_ascii=False), flush=True)  # noqa: T201

    moved_s = shown_s = time.monotonic()
    try:
        while not stopped and not (given.until_end and reading.is_at_end()):
            now_s = time.monotonic()
            if reading.step():
                moved_s = now_s
            elif given.until_end and now_s - moved_s > given.give_up_s:
                print(f"no message for {given.give_up_s} s, and not at the end", file=sys.stderr)  # noqa: T201
                return 1
            if given.follow and reading.partitions is not None and now_s - shown_s >= given.every_s:
                show()
                shown_s = now_s
        if not stopped:
            show()
    finally:
        reading.close()
    return 1 if stopped and given.until_end else 0


if __name__ == "__main__":
    sys.exit(main())
