# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Events as the gateway writes them, and a monitor's reading side over any log and books."""

import random
import threading
from contextlib import ExitStack
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest

from dragoman.events.v1 import events_pb2 as pb
from dragoman_common.testing import FakeClock
from dragoman_events.message_event import event_of
from dragoman_events.ports import Message
from dragoman_events.topics import FEEDBACK, PREDICTIONS, message_key
from dragoman_monitor.consumer import ConsumerSettings, TopicReader
from dragoman_monitor.contracts import MINUTE_US, RULES, START_US
from dragoman_monitor.convert import label_from_record, prediction_from_record, time_to_pb
from dragoman_monitor.dead_letter_topic import DeadLetterTopic
from dragoman_monitor.memory import MemoryMonitorStore
from dragoman_monitor.ports import Query
from tests.parts import postgres as parts_postgres
from tests.parts.missing import required

READ = {PREDICTIONS: prediction_from_record, FEEDBACK: label_from_record}
LABELS = ("acq", "crude", "earn", "trade")


def prediction_pb(number, **changes):
    """The number-th row of a fixed, varied stream of one tenant."""
    rng = random.Random(number)
    refused = number % 17 == 0
    fields = {
        "tenant": "acme",
        "request_id": f"r-{number}",
        "row": number % 3,
        "model": "r8",
        "version": 1 + number % 2,
        "arm": "canary" if number % 2 else "stable",
        "code": "DEADLINE_EXCEEDED" if refused else "OK",
        "label": "" if refused else rng.choice(LABELS),
        "score": rng.random(),
        "num_tokens": rng.randrange(1, 200),
        "num_unknown_tokens": 1,
        "truncated": number % 11 == 0,
        "accept_time": time_to_pb(START_US + rng.randrange(5 * MINUTE_US)),
        "latency_ms": rng.lognormvariate(1, 1),
    }
    return pb.Prediction(**fields | changes)


def feedback_pb(number, **changes):
    """The true label of that row."""
    fields = {
        "tenant": "acme",
        "request_id": f"r-{number}",
        "row": number % 3,
        "true_label": random.Random(-number).choice(LABELS),
        "receive_time": time_to_pb(START_US + number),
    }
    return pb.Feedback(**fields | changes)


def message(value):
    """What a producer appends."""
    return Message.of(
        message_key(value.tenant, value.request_id),
        event_of(value, source="dragoman/gateway", extensions={"tenant": value.tenant, "requestid": value.request_id}),
    )


def reader(topic, log, store, *, max_records=50, clock=None):
    """A topic's reader that never waits."""
    return TopicReader(
        topic,
        READ[topic],
        log=log,
        store=store,
        send=DeadLetterTopic(log).send,
        clock=clock or FakeClock(),
        settings=ConsumerSettings(max_records=max_records, poll_timeout_s=0.0),
    )


class UntilRead(threading.Event):
    """A stop that is set as soon as the books have reached the end of the topics."""

    def __init__(self, log, store, topics):
        super().__init__()
        self._log, self._store, self._topics = log, store, topics
        self._num_left = 10_000

    def is_set(self):
        self._num_left -= 1
        assert self._num_left, "the books never reach the end of the topics"
        return all(
            self._store.offsets(topic).get(partition, 0) >= end
            for topic in self._topics
            for partition, end in self._log.end_offsets(topic).items()
        )


def drain(log, store, topics=(PREDICTIONS, FEEDBACK), **settings):
    """Read topics to their ends, one after the other."""
    for topic in topics:
        reader(topic, log, store, **settings).run(UntilRead(log, store, [topic]))


def recount(log, *, rules=RULES):
    """The counters that a fresh set of books gets from the topics."""
    store = MemoryMonitorStore(rules)
    drain(log, store)
    return store


@pytest.fixture(scope="session")
def world():
    """What the tests of this folder share; a fixture, because test modules cannot import each other."""
    return SimpleNamespace(
        prediction=prediction_pb,
        feedback=feedback_pb,
        message=message,
        reader=reader,
        drain=drain,
        recount=recount,
        books=books,
        postgres_url=postgres_url,
        UntilRead=UntilRead,
    )


def books(store, tenant="acme"):
    """All that is counted for a tenant, without the offsets."""
    snapshot = store.snapshot(Query(tenant=tenant, model="r8"))
    return snapshot.windows, {name: count for name, count in snapshot.tallies.items() if count}


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """A real Postgres; its password is where libpq looks for it, so URLs hold none."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("postgres")
        server = required("postgres", lambda: stack.enter_context(parts_postgres.running(folder, killable=True)))
        patch.setenv("PGPASSWORD", unquote(urlsplit(server.url).password))
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def books_url(request, tmp_path):
    """Where books can be: a file, and a new database of a real Postgres."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/monitor.db"
    return postgres_url(request.getfixturevalue("postgres"))


def postgres_url(server):
    """A new database, as the monitor's settings name it."""
    parts = urlsplit(server.make_database())
    return f"postgresql://{parts.username}@{parts.hostname}:{parts.port}{parts.path}"
