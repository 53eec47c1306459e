# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Appends messages to Kafka's topics, each acknowledged by every replica in sync before it counts.

    write(topic, messages) -> the library's bounded queue -> brokers -> [one thread: delivery reports] -> write returns

Idempotent: a message that the library sends again, because an answer was lost, is in the topic once. A caller that
appends again after an error may double it: at least once, as ports.py says.
"""

import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from dragoman_common.errors import UnavailableError
from dragoman_events.kafka_client import allowed_s, error_of, opening
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_events.ports import Message

logger = logging.getLogger(__name__)

_POLL_S: Final = 0.5
"""How long the reports' thread sleeps when there are none; it is woken by each."""


def producer_config(config: dict[str, Any], settings: KafkaSettings) -> dict[str, Any]:
    """The properties of a producer: no acknowledgement is given for less than all replicas in sync."""
    return config | {
        "enable.idempotence": True,
        "acks": "all",
        # The Java client's, so that a key has one partition whoever writes; the library's own default is another.
        "partitioner": "murmur2_random",
        # Appends come in groups already (the gateway's outbox): waiting for more would only add to their time.
        "linger.ms": 0,
        "message.timeout.ms": settings.kafka_delivery_timeout_ms,
        "request.timeout.ms": settings.kafka_delivery_timeout_ms,
        "queue.buffering.max.kbytes": settings.kafka_buffer_bytes // 1024,
        # Headers are not in those bytes, and a message is more than its bytes.
        "queue.buffering.max.messages": settings.kafka_buffer_bytes // 256,
    }


class KafkaWriter:
    """Writes for all threads of a process.

    Args:
        config: the properties of a producer.
        settings: how long an append may wait.
    """

    def __init__(self, config: dict[str, Any], settings: KafkaSettings) -> None:
        self._config = config
        self._settings = settings
        self._lock = threading.Lock()
        self._client: _Client | None = None
        self._is_closed = False

    def write(self, topic: str, messages: Sequence[Message]) -> list[int]:
        """Append to the topic of this (Kafka's) name; durable on return.

        Raises:
            UnavailableError: too much waits already, or no acknowledgement came in time; some may be in the topic.
            InvalidArgumentError: a message is too large.
            FailedPreconditionError: the topic is gone, or not ours to write.
        """
        timeout_s = allowed_s(self._settings.kafka_delivery_timeout_ms)
        client = self._current()
        group = _Group(len(messages))
        doing = f"appending to {topic}"
        try:
            for index, message in enumerate(messages):
                client.producer.produce(
                    topic,
                    key=message.key,
                    value=message.value,
                    headers=list(message.headers.items()),
                    on_delivery=partial(group.settle, index),
                )
        except BufferError:
            raise UnavailableError("Too many events wait for Kafka already; try again.") from None
        except KafkaException as error:
            self._renew(client, error.args[0])
            raise error_of(error.args[0], doing) from error
        if not group.done.wait(timeout_s):
            raise UnavailableError(f"Kafka did not acknowledge in {timeout_s:.1f} s, {doing}.")
        if group.error is not None:
            self._renew(client, group.error)
            raise error_of(group.error, doing)
        return group.offsets

    def close(self) -> None:
        """Give what is on its way the time of an append, then stop. Idempotent."""
        with self._lock:
            client, self._client, self._is_closed = self._client, None, True
        if client is not None:
            client.close(self._settings.kafka_delivery_timeout_ms / 1000)

    def _current(self) -> "_Client":
        with self._lock:
            if self._is_closed:
                raise UnavailableError("The event log is closed.")
            if self._client is None:
                self._client = _Client(self._config)
            return self._client

    def _renew(self, client: "_Client", error: KafkaError) -> None:
        """After a fatal error (the broker lost what it had acknowledged) a producer only refuses: the next is new."""
        if not error.fatal():
            return
        with self._lock:
            if self._client is not client:
                return
            self._client = None
        logger.error("Kafka's producer is started anew: %s", error.str())
        client.close(0.0)


class _Client:
    """One producer of the library, and the thread that takes its delivery reports."""

    def __init__(self, config: dict[str, Any]) -> None:
        with opening():
            self.producer = Producer(config)
        self._stop = threading.Event()
        # A daemon: a service that ends without close must not wait for a broker that is away.
        self._thread = threading.Thread(target=self._run, name="kafka-reports", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        self.producer.flush(timeout_s)
        # What was not acknowledged fails now, and its writers learn of it.
        self.producer.purge()
        self._stop.set()
        self._thread.join()
        self.producer.flush(0)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.producer.poll(_POLL_S)


class _Group:
    """One append on its way. Settled by the reports' thread alone, read by the writer when it is done."""

    def __init__(self, count: int) -> None:
        self.offsets = [0] * count
        self.error: KafkaError | None = None
        self.done = threading.Event()
        self._num_left = count

    def settle(self, index: int, error: KafkaError | None, message: KafkaMessage) -> None:
        if error is not None:
            self.error = error
        else:
            self.offsets[index] = message.offset() or 0
        self._num_left -= 1
        if not self._num_left:
            self.done.set()
