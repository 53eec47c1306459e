# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Kafka's topics: made where allowed, checked otherwise, never changed.

ensure(topic) -> describe -> missing: create, or refuse
                          -> there: partitions, copies, lifetime, clean-up must be as topics.py and the settings say
"""

import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition

# Public, and not in the stub's __all__.
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from dragoman_common.errors import FailedPreconditionError, UnavailableError
from dragoman_events.kafka_client import REFUSALS, KafkaRefusesError, allowed_s, held, opening, translated
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_events.topics import LAYOUTS, SLOW, TopicLayout

logger = logging.getLogger(__name__)

_NO_LEADER: Final = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
)

_SPREAD_S: Final = 0.05
"""How often to ask whether a new topic is known to the broker that answers."""


class KafkaTopics:
    """The topics of one cluster under our names.

    Args:
        config: the properties of a client.
        settings: what is allowed, and how many copies.
    """

    def __init__(self, config: dict[str, Any], settings: KafkaSettings) -> None:
        self._settings = settings
        self._refusals = _Refusals()
        with opening():
            self._client: AdminClient | None = AdminClient(config | {"error_cb": self._refusals.note})
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def name(self, topic: str) -> str:
        """What Kafka calls the topic, or a group."""
        return self._settings.kafka_prefix + topic

    def prepare(self, topics: Collection[str]) -> None:
        """Make or check these topics now; if Kafka is away, each is looked at when it is first used.

        Raises:
            FailedPreconditionError: a topic is missing and may not be made, or is not as it must be.
            KafkaRefusesError: credentials or certificates are wrong.
        """
        try:
            self.ensure(*topics)
        except KafkaRefusesError:
            raise
        except UnavailableError as error:
            logger.warning("Kafka's topics are not checked yet: %s", error.message)

    def ensure(self, *topics: str) -> None:
        """Return when the topics are there and as they must be; asks Kafka once per topic.

        Raises:
            FailedPreconditionError: one is missing and may not be made, or is not as it must be.
            UnavailableError: Kafka cannot be asked now.
        """
        if self._seen.issuperset(topics):
            return
        with held(self._lock, self._settings.kafka_request_timeout_ms, f"checking {', '.join(topics)}"):
            new = [topic for topic in topics if topic not in self._seen]
            if not new:
                return
            found = self._describe(new)
            missing = [topic for topic in new if found[topic] is None]
            if missing:
                self._create(missing)
                found |= self._shown(missing)
            self._check(found)
            self._seen.update(new)

    def num_partitions(self, topic: str) -> int | None:
        """How many partitions the topic has; None if there is no such topic.

        Raises:
            UnavailableError: Kafka cannot be asked now.
        """
        description = self._describe([topic])[topic]
        return None if description is None else len(description.partitions)

    def ends(self, topic: str) -> dict[int, int]:
        """Per partition the offset that the next message gets; empty if there is no such topic.

        Raises:
            UnavailableError: Kafka cannot be asked now.
        """
        count = self.num_partitions(topic) or 0
        if not count:
            return {}
        ends_s = time.monotonic() + allowed_s(self._settings.kafka_request_timeout_ms)
        while True:
            with self._asking(f"looking for the ends of {topic}"):
                try:
                    return self._ends(self.name(topic), count)
                except KafkaException as error:
                    # A partition that has just been made, or has just lost its leader.
                    if error.args[0].code() not in _NO_LEADER or time.monotonic() > ends_s:
                        raise
            time.sleep(_SPREAD_S)

    def _ends(self, name: str, count: int) -> dict[int, int]:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        timeout_s = allowed_s(self._settings.kafka_request_timeout_ms)
        asked = {TopicPartition(name, partition): latest for partition in range(count)}
        answers = self._admin().list_offsets(asked, request_timeout=timeout_s)
        return {place.partition: _result(answer, timeout_s).offset for place, answer in answers.items()}

    def close(self) -> None:
        """Free the client. Idempotent."""
        # Here and now: it has no close of its own, and must not be left to the garbage collector, which takes its
        # callbacks away while its threads still use them.
        self._client = None

    def _admin(self) -> AdminClient:
        if self._client is None:
            raise UnavailableError("The event log is closed.")
        return self._client

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        try:
            with translated(doing):
                yield
        except UnavailableError as error:
            # The library says why only to whoever polls.
            self._admin().poll(0)
            refusal = self._refusals.take()
            if refusal is None:
                raise
            raise KafkaRefusesError(
                f"Kafka refuses this service, {doing}. ({refusal.name()}: {refusal.str()})"
            ) from error

    def _describe(self, topics: Sequence[str]) -> dict[str, Any]:
        """Per topic the library's description, or None where there is no such topic."""
        doing = f"describing {', '.join(topics)}"
        timeout_s = allowed_s(self._settings.kafka_request_timeout_ms)
        names = [self.name(topic) for topic in topics]
        found: dict[str, Any] = {}
        with self._asking(doing):
            answers = self._admin().describe_topics(TopicCollection(names), request_timeout=timeout_s)
            for topic, name in zip(topics, names, strict=True):
                try:
                    found[topic] = _result(answers[name], timeout_s)
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                        raise
                    found[topic] = None
        return found

    def _create(self, topics: Sequence[str]) -> None:
        copies = self._settings.kafka_replication
        if not self._settings.kafka_create_topics:
            wanted = [
                f"{self.name(topic)} ({layout.num_partitions} partitions, retention.ms={layout.retention_ms})"
                for topic, layout in ((topic, _layout(topic)) for topic in topics)
            ]
            raise FailedPreconditionError(
                f"Kafka lacks topics, and this service may not make them: {', '.join(wanted)}. Make them with "
                f"{copies} replicas and min.insync.replicas={_min_in_sync(copies)}, or set kafka_create_topics=true."
            )
        doing = f"making {', '.join(topics)}"
        timeout_s = allowed_s(self._settings.kafka_request_timeout_ms)
        new = [
            NewTopic(
                self.name(topic),
                num_partitions=_layout(topic).num_partitions,
                replication_factor=copies,
                config={
                    "retention.ms": str(_layout(topic).retention_ms),
                    "cleanup.policy": "delete",
                    "min.insync.replicas": str(_min_in_sync(copies)),
                },
            )
            for topic in topics
        ]
        with self._asking(doing):
            for answer in self._admin().create_topics(new, request_timeout=timeout_s).values():
                try:
                    _result(answer, timeout_s)
                except KafkaException as error:
                    # Another service was first.
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise
        logger.info("topics made", extra={"topics": list(topics)})

    def _shown(self, topics: Sequence[str]) -> dict[str, Any]:
        """The new topics' descriptions; the broker that is asked next may not know them at once."""
        ends_s = time.monotonic() + allowed_s(self._settings.kafka_request_timeout_ms)
        while True:
            found = self._describe(topics)
            if None not in found.values():
                return found
            if time.monotonic() > ends_s:
                raise UnavailableError(f"Kafka made {', '.join(topics)} and does not show all of them yet.")
            time.sleep(_SPREAD_S)

    def _check(self, found: Mapping[str, Any]) -> None:
        configs = self._configs(list(found))
        wrong = [
            f"{self.name(topic)}: {problem}"
            for topic, description in found.items()
            for problem in _problems(
                description, configs[topic], layout=_layout(topic), copies=self._settings.kafka_replication
            )
        ]
        if wrong:
            raise FailedPreconditionError(f"Kafka's topics are not as they must be: {'; '.join(wrong)}.")

    def _configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        doing = f"describing the configuration of {', '.join(topics)}"
        timeout_s = allowed_s(self._settings.kafka_request_timeout_ms)
        asked = {ConfigResource(ResourceType.TOPIC, self.name(topic)): topic for topic in topics}
        with self._asking(doing):
            answers = self._admin().describe_configs(list(asked), request_timeout=timeout_s)
            return {
                asked[resource]: {entry.name: entry.value for entry in _result(answer, timeout_s).values()}
                for resource, answer in answers.items()
            }


class _Refusals:
    """The last refusal that the client told of. Apart from the client's owner, so that they are no cycle."""

    def __init__(self) -> None:
        self._last: KafkaError | None = None

    def note(self, error: KafkaError) -> None:
        if error.code() in REFUSALS:
            self._last = error

    def take(self) -> KafkaError | None:
        last, self._last = self._last, None
        return last


def _problems(description: Any, config: Mapping[str, str], *, layout: TopicLayout, copies: int) -> Iterator[str]:
    """What is wrong with a topic. More copies and a longer life than asked for are right, too."""
    num_partitions = len(description.partitions)
    if num_partitions != layout.num_partitions:
        yield f"it has {num_partitions} partitions and must have {layout.num_partitions}"
    found_copies = min(len(partition.replicas) for partition in description.partitions)
    if found_copies < copies:
        yield f"it has {found_copies} replicas and must have {copies} or more"
    if 0 <= int(config["retention.ms"]) < layout.retention_ms:
        yield f"retention.ms is {config['retention.ms']} and must be {layout.retention_ms} or more"
    if "compact" in config["cleanup.policy"]:
        # Events of one call share a key: compaction keeps only the last of them.
        yield f"cleanup.policy is {config['cleanup.policy']} and must be delete"
    if int(config["min.insync.replicas"]) < _min_in_sync(copies):
        yield f"min.insync.replicas is {config['min.insync.replicas']} and must be {_min_in_sync(copies)} or more"


def _layout(topic: str) -> TopicLayout:
    return LAYOUTS.get(topic, SLOW)


def _min_in_sync(copies: int) -> int:
    return max(1, copies - 1)


def _result(answer: "Future[Any]", timeout_s: float) -> Any:
    try:
        # The library's own limit comes first; this is for when it does not hold it.
        return answer.result(timeout_s + 1)
    except FutureTimeoutError:
        raise UnavailableError(f"Kafka did not answer in {timeout_s:.1f} s.") from None
