# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Kafka: reachable, lets us in, topics as they must be, copies in step, an acknowledged write, and its clock.

The write goes to a topic of its own that is deleted again: the broker stamps what is written there with its own time.
"""

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

from dragoman_client.doctor.deployment import Deployment
from dragoman_client.doctor.finding import Finding, Findings, in_threads
from dragoman_client.local.parts import PartsSettings
from dragoman_common.errors import DragomanError, FailedPreconditionError, InvalidArgumentError
from dragoman_events.kafka_settings import brokers_of
from dragoman_events.topics import TOPICS

TIMEOUT_MS = 5_000
_HERE = Findings("broker")


async def check_broker(deployment: Deployment) -> AsyncIterator[Finding]:
    """Ask the brokers; blocking calls run in a thread."""
    if deployment.parts is None:
        yield _HERE.skipped("reachable", "the event log is a file of the home")
        return
    try:
        import confluent_kafka  # noqa: F401 - only whether it is there
    except ImportError:
        yield _HERE.skipped("reachable", "needs dragoman-client with its extra doctor")
        return
    async for finding in in_threads(_look(deployment.parts)):
        yield finding


def _look(parts: PartsSettings) -> Iterator[Finding]:
    from dragoman_events.kafka_client import KafkaRefusesError, client_config
    from dragoman_events.kafka_topics import KafkaTopics

    brokers = brokers_of(parts.events_url)
    # A doctor makes no topic that a service would then find.
    settings = replace(
        parts.kafka,
        kafka_create_topics=False,
        kafka_request_timeout_ms=TIMEOUT_MS,
        kafka_delivery_timeout_ms=TIMEOUT_MS,
    )
    topics = None
    try:
        config = client_config(brokers, settings)
        topics = KafkaTopics(config, settings)
        topics.num_partitions(TOPICS[0])
    except KafkaRefusesError as error:
        yield _HERE.fail("auth", error.message, "correct the user, its password, or the CA file in DRAGOMAN_UP_KAFKA_*")
        return
    except InvalidArgumentError as error:
        yield _HERE.fail("settings", error.message, "correct DRAGOMAN_UP_KAFKA_*")
        return
    except DragomanError as error:
        advice = "start Kafka, or correct DRAGOMAN_UP_EVENTS_URL; until then acked calls wait in the gateway's spool"
        yield _HERE.fail("reachable", f"{brokers} does not answer: {error.message}", advice)
        return
    else:
        yield _HERE.ok("reachable", f"{brokers} answers, {'over TLS' if settings.kafka_tls else 'without TLS'}")
        yield from _topics(topics)
    finally:
        if topics is not None:
            topics.close()
    yield from _cluster(config, settings.kafka_prefix)
    yield from _write(config, settings.kafka_prefix)


def _topics(topics: Any) -> Iterator[Finding]:
    are_right = True
    for topic in TOPICS:
        try:
            topics.ensure(topic)
        except FailedPreconditionError as error:
            are_right = False
            yield _HERE.fail(
                "topics",
                error.message,
                "make it with what is said here (kafka-topics, kafka-configs), or restart the platform with "
                "DRAGOMAN_UP_KAFKA_CREATE_TOPICS=true, which makes what is missing and changes nothing",
            )
    if are_right:
        yield _HERE.ok("topics", f"{len(TOPICS)} topics with the partitions, copies and retention that they must have")


def _cluster(config: dict[str, Any], prefix: str) -> Iterator[Finding]:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        found = AdminClient(config).list_topics(timeout=TIMEOUT_MS / 1e3)
    except KafkaException as error:
        yield _HERE.fail("copies", f"cannot be listed: {error.args[0].str()}", "look at the brokers' logs")
        return
    ours = [found.topics[prefix + topic] for topic in TOPICS if prefix + topic in found.topics]
    partitions = [(topic.topic, part) for topic in ours for part in topic.partitions.values()]
    leaderless = [f"{name}/{part.id}" for name, part in partitions if part.leader < 0]
    behind = [f"{name}/{part.id}" for name, part in partitions if len(part.isrs) < len(part.replicas)]
    if leaderless:
        yield _HERE.fail(
            "copies", f"no leader: {', '.join(leaderless)}", "start the brokers that hold these partitions"
        )
    elif behind:
        advice = "start or look at the broker that is behind: one more loss stops acknowledgements"
        yield _HERE.warn("copies", f"under-replicated: {', '.join(behind)}", advice)
    else:
        yield _HERE.ok("copies", f"{len(partitions)} partitions of {len(found.brokers)} brokers are in step")


def _write(config: dict[str, Any], prefix: str) -> Iterator[Finding]:
    from confluent_kafka import KafkaException, Producer

    # Public, and not in the stub's __all__.
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    admin, name = AdminClient(config), f"{prefix}dragoman.doctor.{secrets.token_hex(8)}"
    topic = NewTopic(name, 1, -1, config={"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000"})
    try:
        admin.create_topics([topic], request_timeout=TIMEOUT_MS / 1e3)[name].result(TIMEOUT_MS / 1e3 + 1)
    except (KafkaException, TimeoutError) as error:
        yield _HERE.skipped("write", f"a probe topic cannot be made here: {_said(error)}")
        return
    delivered: list[tuple[Any, Any]] = []
    try:
        producer = Producer(config | {"acks": "all", "message.timeout.ms": TIMEOUT_MS})
        begin_s = time.time()
        producer.produce(name, b"probe", on_delivery=lambda error, message: delivered.append((error, message)))
        producer.flush(TIMEOUT_MS / 1e3 + 1)
        end_s = time.time()
    finally:
        admin.delete_topics([name], request_timeout=TIMEOUT_MS / 1e3)[name].exception(TIMEOUT_MS / 1e3 + 1)
    if not delivered or delivered[0][0] is not None:
        said = delivered[0][0].str() if delivered else "no answer"
        yield _HERE.fail("write", f"a write is not acknowledged: {said}", "look at the brokers' logs and disks")
        return
    yield _HERE.ok("write", f"acknowledged in {(end_s - begin_s) * 1e3:.0f} ms, the first of a connection")
    stamp_s = delivered[0][1].timestamp()[1] / 1e3
    # The stamp was put somewhere between begin and end: outside of these is what no waiting explains.
    yield _HERE.clock(min(stamp_s - begin_s, 0.0) + max(stamp_s - end_s, 0.0))


def _said(error: Exception) -> str:
    cause = error.args[0] if error.args else error
    return str(cause.str()) if hasattr(cause, "str") else type(error).__name__
