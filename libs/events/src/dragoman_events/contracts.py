# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What every event log must do: one class of tests, subclassed once per adapter with a ``log`` fixture."""

import threading
import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from dragoman_events.cloud_event import CloudEvent
from dragoman_events.ports import EventLog, Message, OffsetOutOfRangeError, Record

TOPIC = "contract.topic"
NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
TIMEOUT_S = 20.0


def event(number: int) -> CloudEvent:
    """An event that can be told from its neighbours."""
    return CloudEvent(
        id=f"id-{number}",
        source="contract",
        type="contract.Event",
        subject="r8/1",
        time=NOW,
        data=b"\x00data-%d" % number,
        extensions={"tenant": "acme", "requestid": f"r-{number}"},
    )


class EventLogContract:
    """Subclasses give a fixture ``log`` that makes an empty log, and say how messages are dropped from it."""

    def drop_before(self, log: Any, offset: int) -> None:
        """Let the log forget the messages of ``TOPIC`` before an offset, as its retention does."""
        log.drop_before(TOPIC, offset)

    def test_an_appended_event_reads_back_equal(self, log: EventLog) -> None:
        offsets = log.append(TOPIC, b"acme/r-1", [event(1)])
        (record,) = log.read(TOPIC, offsets[0], 10)
        assert record.event() == event(1)
        assert (record.topic, record.partition, record.offset, record.key) == (TOPIC, 0, offsets[0], b"acme/r-1")

    def test_offsets_grow_and_keep_the_order_of_one_key(self, log: EventLog) -> None:
        offsets = log.append(TOPIC, b"k", [event(1), event(2)]) + log.append(TOPIC, b"k", [event(3)])
        assert all(earlier < later for earlier, later in pairwise(offsets))
        assert [event(1), event(2), event(3)] == [record.event() for record in log.read(TOPIC, offsets[0], 10)]

    def test_any_bytes_survive_in_key_headers_and_value(self, log: EventLog) -> None:
        message = Message(
            key=b"\xff\x00", headers={"ce_id": b"\xfe\x00\xc3\xa9", "empty": b""}, value=b"\x00\xff" * 100
        )
        (offset,) = log.write(TOPIC, [message])
        (record,) = log.read(TOPIC, offset, 1)
        assert (message.key, message.headers, message.value) == (record.key, record.headers, record.value)

    def test_appending_nothing_changes_nothing(self, log: EventLog) -> None:
        assert log.append(TOPIC, b"k", []) == []
        assert log.write(TOPIC, []) == []
        assert log.end_offsets(TOPIC) == {0: 0}

    def test_topics_do_not_mix(self, log: EventLog) -> None:
        log.append("contract.a", b"k", [event(1)])
        log.append("contract.b", b"k", [event(2)])
        assert [event(1)] == [record.event() for record in log.read("contract.a", 0, 10)]
        assert [event(2)] == [record.event() for record in log.read("contract.b", 0, 10)]

    def test_the_end_offset_is_behind_the_last_message(self, log: EventLog) -> None:
        offsets = log.append(TOPIC, b"k", [event(1), event(2)])
        assert {0: offsets[-1] + 1} == log.end_offsets(TOPIC)
        assert log.read(TOPIC, offsets[-1] + 1, 10) == []

    def test_reads_stop_at_max_records(self, log: EventLog) -> None:
        log.append(TOPIC, b"k", [event(n) for n in range(5)])
        assert [event(1), event(2)] == [record.event() for record in log.read(TOPIC, 1, 2)]

    def test_a_consumer_starts_at_the_oldest_message_and_moves(self, log: EventLog) -> None:
        log.append(TOPIC, b"k", [event(n) for n in range(5)])
        consumer = log.consumer(TOPIC, "g")
        assert [event(0), event(1), event(2)] == [record.event() for record in consumer.poll(3, TIMEOUT_S)]
        assert [event(3), event(4)] == [record.event() for record in consumer.poll(3, TIMEOUT_S)]
        assert consumer.poll(3) == []
        consumer.close()

    def test_a_group_resumes_where_it_committed_and_not_where_it_polled(self, log: EventLog) -> None:
        log.append(TOPIC, b"k", [event(n) for n in range(5)])
        first = log.consumer(TOPIC, "g")
        assert first.committed() == {}
        first.poll(2, TIMEOUT_S)
        first.commit()
        first.poll(2, TIMEOUT_S)
        first.close()
        second = log.consumer(TOPIC, "g")
        assert second.committed() == {0: 2}
        assert event(2) == second.poll(1, TIMEOUT_S)[0].event()
        second.close()

    def test_a_commit_of_stated_offsets_is_what_is_committed(self, log: EventLog) -> None:
        log.append(TOPIC, b"k", [event(n) for n in range(5)])
        consumer = log.consumer(TOPIC, "g")
        consumer.poll(5, TIMEOUT_S)
        consumer.commit()
        consumer.commit({0: 3})
        consumer.commit({})
        assert consumer.committed() == {0: 3}
        consumer.close()

    def test_groups_do_not_see_each_others_commits(self, log: EventLog) -> None:
        log.append(TOPIC, b"k", [event(1)])
        one, other = log.consumer(TOPIC, "one"), log.consumer(TOPIC, "other")
        one.poll(10, TIMEOUT_S)
        one.commit()
        assert [event(1)] == [record.event() for record in other.poll(10, TIMEOUT_S)]
        assert other.committed() == {}
        one.close()
        other.close()

    def test_seek_moves_the_position_only(self, log: EventLog) -> None:
        log.append(TOPIC, b"k", [event(n) for n in range(5)])
        consumer = log.consumer(TOPIC, "g")
        consumer.poll(5, TIMEOUT_S)
        consumer.commit()
        consumer.seek({0: 1})
        assert event(1) == consumer.poll(1, TIMEOUT_S)[0].event()
        assert consumer.committed() == {0: 5}
        consumer.close()

    def test_a_position_whose_message_was_dropped_is_out_of_range_and_stays(self, log: EventLog) -> None:
        log.append(TOPIC, b"k", [event(n) for n in range(5)])
        consumer = log.consumer(TOPIC, "g")
        consumer.poll(1, TIMEOUT_S)
        consumer.commit()
        # Another consumer: one that reads ahead may still have what was dropped.
        consumer.close()
        self.drop_before(log, 3)
        consumer = log.consumer(TOPIC, "g")
        for _ in range(2):
            with pytest.raises(OffsetOutOfRangeError) as refused:
                consumer.poll(10, TIMEOUT_S)
            error = refused.value
            assert (error.topic, error.partition, error.position, error.oldest, error.end) == (TOPIC, 0, 1, 3, 5)
        consumer.seek({0: error.oldest})
        assert [event(3), event(4)] == [record.event() for record in consumer.poll(10, TIMEOUT_S)]
        consumer.close()

    def test_a_position_behind_the_end_is_out_of_range(self, log: EventLog) -> None:
        log.append(TOPIC, b"k", [event(1)])
        consumer = log.consumer(TOPIC, "g")
        consumer.seek({0: 7})
        with pytest.raises(OffsetOutOfRangeError) as refused:
            consumer.poll(10, TIMEOUT_S)
        assert (refused.value.oldest, refused.value.end) == (0, 1)
        consumer.close()

    def test_a_message_dropped_under_a_running_consumer_is_out_of_range(self, log: EventLog) -> None:
        log.append(TOPIC, b"k", [event(n) for n in range(5)])
        consumer = log.consumer(TOPIC, "g")
        consumer.poll(1, TIMEOUT_S)
        self.drop_before(log, 3)
        with pytest.raises(OffsetOutOfRangeError):
            consumer.poll(10, TIMEOUT_S)
        consumer.close()

    def test_what_was_dropped_is_gone_for_new_groups_and_for_readers_and_offsets_go_on(self, log: EventLog) -> None:
        log.append(TOPIC, b"k", [event(n) for n in range(5)])
        self.drop_before(log, 5)
        assert log.read(TOPIC, 0, 10) == []
        assert log.append(TOPIC, b"k", [event(5)]) == [5]
        assert [event(5)] == [record.event() for record in log.read(TOPIC, 0, 10)]
        consumer = log.consumer(TOPIC, "new")
        assert [event(5)] == [record.event() for record in consumer.poll(10, TIMEOUT_S)]
        consumer.close()

    def test_a_waiting_poll_is_woken_by_an_append(self, log: EventLog) -> None:
        consumer = log.consumer(TOPIC, "g")
        polled: list[CloudEvent] = []
        thread = threading.Thread(target=lambda: polled.extend(r.event() for r in consumer.poll(10, TIMEOUT_S)))
        thread.start()
        log.append(TOPIC, b"k", [event(1)])
        thread.join(TIMEOUT_S)
        assert [event(1)] == polled
        consumer.close()

    def test_threads_that_append_together_lose_and_repeat_nothing(self, log: EventLog) -> None:
        def append(thread: int) -> None:
            for number in range(10):
                log.append(TOPIC, b"%d" % thread, [event(thread * 100 + number)])

        threads = [threading.Thread(target=append, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records = log.read(TOPIC, 0, 1000)
        assert sorted(f"id-{t * 100 + n}" for t in range(4) for n in range(10)) == sorted(r.event().id for r in records)
        for writer in range(4):
            of_writer = [r.event() for r in records if r.key == b"%d" % writer]
            assert [event(writer * 100 + n) for n in range(10)] == of_writer

    def test_consumers_of_one_group_share_the_work(self, log: EventLog) -> None:
        log.append(TOPIC, b"k", [event(1)])
        one, other = log.consumer(TOPIC, "g"), log.consumer(TOPIC, "g")
        seen: list[Record] = []
        ends_s = time.monotonic() + TIMEOUT_S
        # Whoever has got the partition: that is not said at once.
        while not seen and time.monotonic() < ends_s:
            for consumer in (one, other):
                seen += consumer.poll(10, 0.2)
                consumer.commit()
        seen += one.poll(10, 0.2) + other.poll(10, 0.2)
        one.close()
        other.close()
        assert [event(1)] == [record.event() for record in seen]

    def test_closing_twice_is_harmless(self, log: EventLog) -> None:
        consumer = log.consumer(TOPIC, "g")
        consumer.close()
        consumer.close()
        log.close()
        log.close()
