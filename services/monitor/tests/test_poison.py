# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""An event that cannot be read is kept once, with its reason, and stops nobody."""

import pytest

from dragoman.events.v1 import events_pb2 as pb
from dragoman_common.errors import UnavailableError
from dragoman_events.memory import MemoryEventLog
from dragoman_events.message_event import message_of
from dragoman_events.ports import Message
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import DEAD_LETTERS, FEEDBACK, PREDICTIONS
from dragoman_monitor.contracts import RULES
from dragoman_monitor.dead_letter import MAX_KEPT_BYTES
from dragoman_monitor.dead_letter_topic import DeadLetterTopic
from dragoman_monitor.memory import MemoryMonitorStore
from dragoman_monitor.sql import SqlMonitorStore
from dragoman_monitor.sqlite import sqlite_database


@pytest.fixture
def poison(world):
    def change(message, headers=None, value=None):
        return Message(
            key=message.key, headers=message.headers | (headers or {}), value=message.value if value is None else value
        )

    good = world.message(world.prediction(1))
    return {
        "does not parse": change(good, value=b"\xff\xff\xff"),
        "expected 'dragoman.events.v1.Prediction'": change(good, {"ce_type": b"dragoman.events.v9.Prediction"}),
        "content-type": change(good, {"content-type": b"application/json"}),
        "ce_specversion": Message(key=b"k", value=good.value),
        "is not UTF-8": change(good, {"ce_id": b"\xff"}),
        "score is nan": world.message(world.prediction(1, score=float("nan"))),
        "latency_ms is inf": world.message(world.prediction(1, latency_ms=float("inf"))),
        "label is longer": world.message(world.prediction(1, label="x" * 1_048_576)),
        "accept_time is missing": world.message(world.prediction(1, accept_time=None)),
        "tenant is empty": world.message(world.prediction(1, tenant="")),
        "is not the value's": change(good, {"ce_tenant": b"other"}),
    }


def dead_letters(log):
    return [message_of(record.event(), pb.DeadLetter) for record in log.read(DEAD_LETTERS, 0, 1000)]


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    log = MemoryEventLog() if request.param == "memory" else SqliteEventLog(tmp_path / "events.db")
    yield log
    log.close()


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryMonitorStore(RULES)
    else:
        store = SqlMonitorStore(sqlite_database(tmp_path / "monitor.db"), RULES)
        yield store
        store.close()


def test_each_poison_is_in_the_dead_letters_once_and_the_good_are_all_counted(world, log, store, poison):
    messages = [world.message(world.prediction(n)) for n in range(100)]
    places = {}
    for i, (reason, message) in enumerate(poison.items()):
        messages.insert(7 * i + 3, message)
        places[7 * i + 3] = reason
    log.write(PREDICTIONS, messages)
    world.drain(log, store, max_records=10)
    world.drain(log, store)
    letters = dead_letters(log)
    assert [letter.offset for letter in letters] == sorted(places)
    for letter in letters:
        assert places[letter.offset] in letter.reason
        assert (letter.topic, letter.partition) == (PREDICTIONS, 0)
        original = messages[letter.offset]
        assert dict(letter.headers) == original.headers
        assert letter.value == original.value[:MAX_KEPT_BYTES]
    reasons = [record.headers["ce_reason"].decode() for record in log.read(DEAD_LETTERS, 0, 100)]
    assert all(letter.reason.startswith(reason) for letter, reason in zip(letters, reasons, strict=True))
    windows, _ = world.books(store)
    clean_log, clean_store = MemoryEventLog(), MemoryMonitorStore(RULES)
    clean_log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in range(100)])
    world.drain(clean_log, clean_store)
    assert windows == world.books(clean_store)[0]
    assert store.offsets(PREDICTIONS) == log.end_offsets(PREDICTIONS)


def test_feedback_on_the_wrong_topic_and_feedback_that_is_poison_are_refused(world, log, store):
    log.write(PREDICTIONS, [world.message(world.feedback(1))])
    log.write(FEEDBACK, [world.message(world.feedback(1, true_label="")), world.message(world.prediction(1))])
    world.drain(log, store)
    assert [(letter.topic, letter.offset) for letter in dead_letters(log)] == [
        (PREDICTIONS, 0),
        (FEEDBACK, 0),
        (FEEDBACK, 1),
    ]


def test_a_reader_that_died_after_sending_does_not_send_again(world, log, store, poison):
    log.write(PREDICTIONS, list(poison.values()))
    sender = DeadLetterTopic(log)

    def send_and_die(letters):
        sender.send(letters)
        raise RuntimeError("planted")

    reader = world.reader(PREDICTIONS, log, store)
    reader._send = send_and_die
    with pytest.raises(RuntimeError, match="planted"):
        reader.run(world.UntilRead(log, store, [PREDICTIONS]))
    world.drain(log, store)
    world.reader(PREDICTIONS, log, store)._run(world.UntilRead(log, store, [PREDICTIONS]))
    assert len(dead_letters(log)) == len(poison)


def test_a_reader_that_died_before_sending_sends_at_its_next_start(world, log, store, poison):
    log.write(PREDICTIONS, list(poison.values()))

    def die(_):
        raise RuntimeError("planted")

    reader = world.reader(PREDICTIONS, log, store)
    reader._send = die
    with pytest.raises(RuntimeError, match="planted"):
        reader.run(world.UntilRead(log, store, [PREDICTIONS]))
    assert dead_letters(log) == []
    world.reader(PREDICTIONS, log, store)._run(world.UntilRead(log, store, [PREDICTIONS]))
    assert len(dead_letters(log)) == len(poison)


class Flaky:
    """A log that is away at the first n writes."""

    def __init__(self, log, num_failures):
        self._log = log
        self._num_failures = num_failures

    def __getattr__(self, name):
        return getattr(self._log, name)

    def write(self, topic, messages):
        if self._num_failures:
            self._num_failures -= 1
            raise UnavailableError("planted")
        return self._log.write(topic, messages)


def test_an_outage_while_sending_is_waited_out_and_loses_nothing(world, log, store, poison):
    log.write(PREDICTIONS, [*poison.values(), world.message(world.prediction(1))])
    flaky = Flaky(log, 2)
    reader = world.reader(PREDICTIONS, flaky, store)
    stop = StopAfter(lambda: len(dead_letters(log)) == len(poison))
    reader.run(stop)
    assert stop.num_waits == 2
    assert store.offsets(PREDICTIONS) == log.end_offsets(PREDICTIONS)


class StopAfter:
    """A stop whose waits take no time."""

    def __init__(self, is_done):
        self.is_set = is_done
        self.num_waits = 0

    def wait(self, _):
        self.num_waits += 1
