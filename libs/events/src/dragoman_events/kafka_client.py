# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What all Kafka clients of ours share: their configuration, their errors in our words, and how long they may wait.

Settings -> librdkafka's properties; KafkaException -> DragomanError, with no secret in it.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from dragoman_common import deadline
from dragoman_common.errors import DragomanError, FailedPreconditionError, InvalidArgumentError, UnavailableError
from dragoman_events.kafka_settings import KafkaSettings, credentials_of

logger = logging.getLogger(__name__)

_NOT_ALLOWED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_NO_TOPIC: Final = frozenset(
    {KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART}  # noqa: SLF001  public
)
_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})


def client_config(brokers: str, settings: KafkaSettings) -> dict[str, Any]:
    """The properties of every client. Holds the password: never log it.

    Raises:
        InvalidArgumentError: the credentials cannot be read.
    """
    credentials = credentials_of(settings)
    sasl, tls = credentials is not None, settings.kafka_tls
    config: dict[str, Any] = {
        "bootstrap.servers": brokers,
        "client.id": "dragoman",
        "security.protocol": "sasl_ssl" if sasl and tls else "ssl" if tls else "plaintext",
        "socket.timeout.ms": settings.kafka_request_timeout_ms,
        # The default, 10 s, would keep us away for that long after a broker is back.
        "reconnect.backoff.max.ms": 1_000,
        # We have metrics of our own; brokers need not ask for the library's.
        "enable.metrics.push": False,
        "logger": logger,
    }
    if tls:
        files = {
            "ssl.ca.location": settings.kafka_ca_file,
            "ssl.certificate.location": settings.kafka_certificate_file,
            "ssl.key.location": settings.kafka_key_file,
        }
        config |= {name: str(path) for name, path in files.items() if path is not None}
        config |= {"enable.ssl.certificate.verification": True, "ssl.endpoint.identification.algorithm": "https"}
        if settings.kafka_key_password:
            config["ssl.key.password"] = settings.kafka_key_password.reveal()
    if credentials is not None:
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
        config["sasl.username"] = credentials.username
        config["sasl.password"] = credentials.password.reveal()
    return config


def error_of(error: KafkaError, doing: str) -> DragomanError:
    """What a Kafka error means to whoever asked."""
    code, said = error.code(), f"{error.name()}: {error.str()}"
    if code in _NOT_ALLOWED:
        return FailedPreconditionError(f"Kafka does not allow {doing}: grant it to this service. ({said})")
    if code in _NO_TOPIC:
        return FailedPreconditionError(f"Kafka has no such topic or partition, {doing}. ({said})")
    if code in _TOO_LARGE:
        return InvalidArgumentError(f"A message is larger than Kafka takes, {doing}. ({said})")
    return UnavailableError(f"Kafka is busy or away, {doing}. ({said})")


class KafkaRefusesError(UnavailableError):
    """Brokers answer, and do not let us in, or are not who they should be: credentials or certificates are wrong."""


REFUSALS: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001  public


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the block's Kafka errors as ours."""
    try:
        yield
    except KafkaException as error:
        cause = error.args[0]
        if not isinstance(cause, KafkaError):
            raise UnavailableError(f"Kafka is busy or away, {doing}. ({type(error).__name__})") from error
        raise error_of(cause, doing) from error


@contextmanager
def opening() -> Iterator[None]:
    """Raise what a client says to its configuration as ours: files that are missing, keys that do not fit.

    Raises:
        InvalidArgumentError: with the library's words, which name files and never what is in them.
    """
    try:
        yield
    except KafkaException as error:
        cause = error.args[0]
        said = cause.str() if isinstance(cause, KafkaError) else type(error).__name__
        raise InvalidArgumentError(f"Kafka's settings cannot be used: {said}") from None


def allowed_s(limit_ms: int) -> float:
    """How long to wait: the limit, or what the call being handled has left."""
    left_s = deadline.remaining_s()
    return limit_ms / 1000 if left_s is None else min(limit_ms / 1000, left_s)


@contextmanager
def held(lock: threading.Lock, limit_ms: int, doing: str) -> Iterator[None]:
    """Hold a lock that others may hold while they wait for Kafka.

    Raises:
        UnavailableError: they held it for as long as this caller may wait.
    """
    if not lock.acquire(timeout=allowed_s(limit_ms)):
        raise UnavailableError(f"Kafka keeps others waiting, too, {doing}.")
    try:
        yield
    finally:
        lock.release()
