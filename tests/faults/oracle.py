# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What must hold when everything is over: nothing lost, nothing twice. It knows the calls, the topic and the database.

    calls --answered OK--> all in the topic        topic --each id--> was asked for by a call
    topic --each row, once--> the monitor's books: rows, counters and tallies, bit for bit, and no lag

The topic is read by a client of its own, the database by SQL of its own; the books are counted again from the topic
by a fresh store in memory, and in part by hand.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import psycopg

from dragoman.events.v1 import events_pb2 as pb
from dragoman_common.errors import InvalidArgumentError
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.convert import label_from_record, prediction_from_record
from dragoman_monitor.counts import CountingRules
from dragoman_monitor.dead_letter import DeadLetter
from dragoman_monitor.join import DUPLICATES, UNJOINED, Batch
from dragoman_monitor.memory import MemoryMonitorStore
from dragoman_monitor.ports import Query
from dragoman_monitor.prediction import Label

RULES = CountingRules()
SLACK_S = 1.0
"""By which a call may outlast its deadline on a busy machine."""
_CHUNK = 997


class BrokenPromiseError(AssertionError):
    """Something was lost, doubled, made up, or waited for too long."""


@dataclass
class Calls:
    """What callers saw. A subject is one caller; a call that failed may have left events, and nobody knows its id."""

    answered: dict[tuple[str, str], int] = field(default_factory=dict)
    """(tenant, request id) of each call that ended OK -> its number of rows."""
    labelled: set[tuple[str, str, int]] = field(default_factory=set)
    """(tenant, request id, row) of each feedback that was accepted with OK."""
    num_failed: Counter[str] = field(default_factory=Counter)
    """Subject -> calls that did not end OK."""
    num_failed_feedback: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    """Status code name -> calls of both kinds."""
    longest_s: float = 0.0
    latest_s: float = 0.0
    """The most by which a call outlasted its deadline; negative if none did."""

    @property
    def num_rows(self):
        return sum(self.answered.values())


def check_waits(calls):
    """No call waits past its deadline."""
    if calls.latest_s > SLACK_S:
        raise BrokenPromiseError(f"a call waited {calls.latest_s:.2f} s past its deadline")


def check_topic(calls, predictions, feedback=()):
    """Answered OK is in the topic; what is in the topic was asked for."""
    found, subjects = defaultdict(set), {}
    for record in predictions:
        value = pb.Prediction.FromString(record.value)
        if record.headers["ce_id"] != f"{value.request_id}/{value.row}".encode():
            raise BrokenPromiseError(f"an event's id {record.headers['ce_id']!r} is not its row's")
        found[value.tenant, value.request_id].add(value.row)
        subjects[value.tenant, value.request_id] = value.subject
    lost = sum(len(set(range(count)) - found[name]) for name, count in calls.answered.items() if name in found)
    lost += sum(count for name, count in calls.answered.items() if name not in found)
    if lost:
        raise BrokenPromiseError(f"{lost} of {calls.num_rows} predictions that were answered OK are lost")
    if any(max(found[name]) >= count for name, count in calls.answered.items()):
        raise BrokenPromiseError("a call has events of rows that it did not ask for")
    unknown = Counter(subjects[name] for name in found.keys() - calls.answered.keys())
    if made_up := {subject: n for subject, n in unknown.items() if n > calls.num_failed[subject]}:
        raise BrokenPromiseError(f"the topic has calls that nobody made: {made_up}")
    values = [pb.Feedback.FromString(record.value) for record in feedback]
    labelled = {(value.tenant, value.request_id, value.row) for value in values}
    if lost := calls.labelled - labelled:
        raise BrokenPromiseError(f"{len(lost)} labels that were accepted with OK are lost")
    if len(labelled - calls.labelled) > calls.num_failed_feedback:
        raise BrokenPromiseError("the topic has labels that nobody sent")


def check_books(url, predictions, feedback=()):
    """The books hold each row of the topics once, no other, and are what a fresh count of the topics gives."""
    store = recount(predictions, feedback)
    nouns = [noun for record in predictions if not isinstance(noun := _read(record), str)]
    expected = {(noun.key.tenant, noun.key.request_id, noun.key.row, noun.arm) for noun in nouns}
    with psycopg.connect(url) as database:
        rows = database.execute("SELECT tenant, request_id, row, arm FROM predictions").fetchall()
        if missing := expected - set(rows):
            raise BrokenPromiseError(f"{len(missing)} of {len(expected)} rows of the topic are not in the books")
        if len(rows) != len(expected):
            raise BrokenPromiseError(f"the books have {len(rows)} rows, the topic {len(expected)}")
        counted = database.execute("SELECT coalesce(sum(count), 0) FROM counts WHERE name = 'code'").fetchone()[0]
        if counted != len(expected):
            raise BrokenPromiseError(f"{counted} rows are counted, the topic has {len(expected)}")
        counts = {row[:-1]: row[-1] for row in database.execute(COUNTS).fetchall()}
        if counts != (again := counters(store, {(noun.key.tenant, noun.model) for noun in nouns})):
            differing = sum(counts.get(name) != again.get(name) for name in counts.keys() | again.keys())
            raise BrokenPromiseError(f"{differing} counters are not what a fresh count of the topics gives")
        tallies = dict(database.execute("SELECT name, sum(count) FROM tallies GROUP BY name").fetchall())
        tallies = {name: int(count) for name, count in tallies.items() if count}
        if tallies != (again := {name: count for name, count in store.tallies().items() if count}):
            raise BrokenPromiseError(f"the tallies are {tallies}, a fresh count gives {again}")
        labels = {_read(record).key for record in feedback if not isinstance(_read(record), str)}
        if tallies.get(DUPLICATES, 0) != len(nouns) - len(expected) + _num_valid(feedback) - len(labels):
            raise BrokenPromiseError("repetitions are not counted as many times as there are")
        predicted = {noun.key for noun in nouns}
        if tallies.get(UNJOINED, 0) != len(labels - predicted):
            raise BrokenPromiseError("labels do not stand beside the rows that they are for")


def check_lag(url, ends):
    """The books are at the ends of the topics, and owe no dead letter; `ends` is per (topic, partition)."""
    with psycopg.connect(url) as database:
        try:
            rows = database.execute("SELECT topic, partition, next FROM offsets").fetchall()
            ((num_waiting,),) = database.execute("SELECT count(*) FROM waiting_dead_letters").fetchall()
        except psycopg.errors.UndefinedTable:
            # No monitor has opened them yet.
            rows, num_waiting = [], 0
    found = {(topic, partition): following for topic, partition, following in rows}
    behind = sum(end - found.get(place, 0) for place, end in ends.items())
    if behind:
        raise BrokenPromiseError(f"the books are {behind} events behind the topics")
    # Written down with the offsets, and sent after that.
    if num_waiting:
        raise BrokenPromiseError(f"{num_waiting} dead letters are not sent yet")


def check_dead_letters(poison, letters):
    """Each poison event is in the dead letter topic once, under its place, and nothing else is."""
    found = [pb.DeadLetter.FromString(record.value) for record in letters]
    places = Counter((letter.topic, letter.partition, letter.offset) for letter in found)
    if places != Counter(poison):
        raise BrokenPromiseError(
            f"{len(places)} places are in {sum(places.values())} dead letters, {len(poison)} expected"
        )
    if any(not record.headers.get("ce_reason") for record in letters):
        raise BrokenPromiseError("a dead letter does not say why")


def poison_of(records):
    """The places of records that the monitor must refuse."""
    return [(record.topic, record.partition, record.offset) for record in records if isinstance(_read(record), str)]


def recount(*topics):
    """A fresh set of books in memory, over these records."""
    store = MemoryMonitorStore(RULES)
    following = Counter()
    for records in topics:
        for start in range(0, len(records), _CHUNK):
            chunks = defaultdict(list)
            for record in records[start : start + _CHUNK]:
                chunks[record.topic, record.partition].append(record)
            for place, chunk in chunks.items():
                nouns = [_read(record) for record in chunk]
                store.apply(
                    Batch(
                        topic=place[0],
                        partition=place[1],
                        expected=following[place],
                        following=chunk[-1].offset + 1,
                        predictions=[noun for noun in nouns if not isinstance(noun, str | Label)],
                        labels=[noun for noun in nouns if isinstance(noun, Label)],
                        dead_letters=[
                            _letter(r) for r, noun in zip(chunk, nouns, strict=True) if isinstance(noun, str)
                        ],
                    )
                )
                following[place] = chunk[-1].offset + 1
    return store


COUNTS = "SELECT tenant, model, version, arm, start_us, name, first, second, count FROM counts WHERE count <> 0"


def counters(store, models=(("acme", "r8"), ("globex", "r8"))):
    """All counters of these tenants' models, none of them 0."""
    return {
        (tenant, model, series.version, series.arm, start_us, *name): count
        for tenant, model in models
        for series, windows in store.snapshot(Query(tenant=tenant, model=model)).windows.items()
        for start_us, counts in windows.items()
        for name, count in counts.items()
    }


def _read(record):
    """What the monitor makes of a record, or the reason why it is poison."""
    try:
        return {PREDICTIONS: prediction_from_record, FEEDBACK: label_from_record}[record.topic](record)
    except InvalidArgumentError as error:
        return error.message


def _num_valid(records):
    return sum(not isinstance(_read(record), str) for record in records)


def _letter(record):
    tenant = record.headers.get("ce_tenant", b"").decode(errors="replace")
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason="poison",
        value=b"",
        headers={},
        tenant=tenant,
        reject_time_us=1,
        search_from={},
    )
