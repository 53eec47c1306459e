# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a service can be told about Kafka: the brokers by URL, the rest by settings of their own.

Credentials never stand in the URL, so the URL may be shown in logs. Imports no client library: every service has these
settings, used or not.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.settings import Secret

MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,100}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class KafkaSettings:
    """Every setting of the Kafka log; the README's table says the same. Unused with another log."""

    kafka_tls: bool = False
    """Whether to speak TLS. The broker's name and certificate are always checked."""
    kafka_ca_file: Path | None = None
    """PEM certificates of the authorities that the brokers' certificates may come from, instead of the system's."""
    kafka_certificate_file: Path | None = None
    """With kafka_key_file: our own certificate, in PEM, where brokers know their clients by it (mTLS)."""
    kafka_key_file: Path | None = None
    kafka_key_password: Secret | None = None
    """What kafka_key_file is encrypted with, if it is."""
    kafka_sasl_mechanism: str | None = None
    """SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN; each over TLS only. Needs the credentials below."""
    kafka_username: str | None = None
    kafka_password: Secret | None = None
    kafka_credentials_file: Path | None = None
    """Instead of these two: a file with the lines `username=...` and `password=...`."""
    kafka_create_topics: bool = False
    """Whether this service makes the topics that are missing. Without it they must be there. Either way they are
    checked, and topics that exist are never changed."""
    kafka_replication: int = 3
    """Copies of each partition. An append is acknowledged when all but one have it (min.insync.replicas), or the only
    one: 1 is for one machine, and loses what it loses."""
    kafka_prefix: str = ""
    """In front of the names of topics and groups, where several platforms share a cluster."""
    kafka_delivery_timeout_ms: int = 5_000
    """The longest an append waits for its acknowledgement, or for as long as its call has, if that is less. Below the
    callers' deadlines; above the time a leader election takes (about 1 s)."""
    kafka_request_timeout_ms: int = 10_000
    """The longest wait for the answer to anything else."""
    kafka_buffer_bytes: int = 32 * 1024 * 1024
    """Most that may wait for its acknowledgement, keys and values, each message counted as 256 bytes or more; beyond it
    appends are refused at once."""
    kafka_session_timeout_ms: int = 10_000
    """How long a silent consumer keeps its partitions. Less notices a death sooner, and takes a pause for one."""

    def __post_init__(self) -> None:
        """Refuse what could only fail later.

        Raises:
            ValueError: with the setting's name.
        """
        self._check_security()
        if not 1 <= self.kafka_replication <= 32_767:
            raise ValueError("kafka_replication must be from 1 to 32767")
        if not _PREFIX.fullmatch(self.kafka_prefix):
            raise ValueError("kafka_prefix takes at most 100 letters, digits, '.', '_' and '-'")
        for name in ("kafka_delivery_timeout_ms", "kafka_request_timeout_ms"):
            if not 100 <= getattr(self, name) <= 300_000:
                raise ValueError(f"{name} must be from 100 to 300000")
        if not 1024 * 1024 <= self.kafka_buffer_bytes <= 2_000_000 * 1024:
            raise ValueError("kafka_buffer_bytes must be from 1 MiB to 2,048,000,000")
        if not 1_000 <= self.kafka_session_timeout_ms <= 300_000:
            raise ValueError("kafka_session_timeout_ms must be from 1000 to 300000")

    def _check_security(self) -> None:
        given = [self.kafka_username, self.kafka_password, self.kafka_credentials_file]
        if self.kafka_sasl_mechanism is None and any(given):
            raise ValueError(f"Kafka credentials need kafka_sasl_mechanism: {', '.join(MECHANISMS)}")
        if self.kafka_sasl_mechanism is not None:
            if self.kafka_sasl_mechanism not in MECHANISMS:
                raise ValueError(f"kafka_sasl_mechanism must be one of {', '.join(MECHANISMS)}")
            if not self.kafka_tls:
                raise ValueError("kafka_sasl_mechanism needs kafka_tls=true: credentials are not sent unencrypted")
            if self.kafka_credentials_file and (self.kafka_username or self.kafka_password):
                raise ValueError("set kafka_credentials_file or kafka_username and kafka_password, not both")
            if not self.kafka_credentials_file and not (self.kafka_username and self.kafka_password):
                raise ValueError(
                    "kafka_sasl_mechanism needs kafka_username and kafka_password, or kafka_credentials_file"
                )
        if (self.kafka_certificate_file is None) != (self.kafka_key_file is None):
            raise ValueError("kafka_certificate_file and kafka_key_file go together")
        if self.kafka_key_password and not self.kafka_key_file:
            raise ValueError("kafka_key_password goes with kafka_key_file")
        if not self.kafka_tls and (self.kafka_ca_file or self.kafka_certificate_file):
            raise ValueError("kafka_ca_file and kafka_certificate_file need kafka_tls=true")


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """Who we are, by name and password."""

    username: str
    password: Secret


def brokers_of(url: str) -> str:
    """Return the addresses in ``kafka://host:port,host:port``, as clients take them.

    Raises:
        InvalidArgumentError: it is not of that form; the text does not repeat the URL.
    """
    form = "The event log's URL must be kafka://host:port,host:port and nothing behind it"
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise InvalidArgumentError(
            f"{form}: credentials belong in kafka_username and kafka_password, or in kafka_credentials_file."
        )
    if parts.scheme != "kafka" or parts.path.strip("/") or parts.query or parts.fragment or not parts.netloc:
        raise InvalidArgumentError(f"{form}.")
    for address in parts.netloc.split(","):
        host, _, port = address.rpartition(":")
        if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise InvalidArgumentError(f"{form}.")
    return parts.netloc


def credentials_of(settings: KafkaSettings) -> Credentials | None:
    """Return the credentials that the settings lead to; None without a SASL mechanism.

    Raises:
        InvalidArgumentError: the file cannot be read, or lacks a line; never with a secret's text.
    """
    if settings.kafka_sasl_mechanism is None:
        return None
    path = settings.kafka_credentials_file
    if path is None:
        return Credentials(username=settings.kafka_username or "", password=settings.kafka_password or Secret(""))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(
            f"kafka_credentials_file {path.name} cannot be read: {type(error).__name__}"
        ) from None
    values = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines if line.strip())}
    if not values.get("username") or not values.get("password"):
        raise InvalidArgumentError(f"kafka_credentials_file {path.name} needs the lines username=... and password=...")
    return Credentials(username=values["username"], password=Secret(values["password"]))
