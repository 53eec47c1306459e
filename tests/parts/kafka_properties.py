# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The properties of one Kafka node, broker and controller, in the forms in which a process and an image take them.

Three listeners: CLIENT is what tests speak to, INTERNAL what the broker calls itself on (transactions), CONTROLLER the
quorum of one. The last two are plain and on loopback in every case, in a container on the container's own.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.parts import certificates

NODE_ID = "1"
MECHANISM = "SCRAM-SHA-512"


@dataclass(frozen=True, kw_only=True, slots=True)
class Security:
    """What a client of a secured listener must know: SASL/SCRAM over TLS."""

    username: str
    password: str = field(repr=False)
    ca_file: Path
    protocol: str = "SASL_SSL"
    mechanism: str = MECHANISM

    @property
    def scram_user(self) -> str:
        """The user, as StorageTool's --add-scram takes it."""
        return f"{self.mechanism}=[name={self.username},password={self.password}]"


def node(*, listen: str, advertised: str, internal_port: int, controller_port: int) -> dict[str, str]:
    """Return the properties of a node with a plain CLIENT listener.

    Args:
        listen: host:port that CLIENT listens on.
        advertised: host:port at which clients find it.
        internal_port: Of INTERNAL, on 127.0.0.1.
        controller_port: Of CONTROLLER, on 127.0.0.1.
    """
    internal = f"INTERNAL://127.0.0.1:{internal_port}"
    return {
        "process.roles": "broker,controller",
        "node.id": NODE_ID,
        "controller.quorum.voters": f"{NODE_ID}@127.0.0.1:{controller_port}",
        "listeners": f"CLIENT://{listen},{internal},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"CLIENT://{advertised},{internal}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        # A misspelt topic is an error, as it should be where it matters.
        "auto.create.topics.enable": "false",
        # A killed broker is let in again when its last session has timed out: by default that takes 9 s.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "300",
        # The first member of a group need not wait for a second one.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # One broker holds one copy; one partition of a book-keeping topic is enough, and opens in less time than fifty.
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
    }


def secured(folder: Path) -> tuple[dict[str, str], Security]:
    """Return what makes CLIENT speak SASL/SCRAM over TLS, and what clients must know; the CA goes to folder/ca.pem."""
    certificate = certificates.for_loopback()
    ca_file = folder / "ca.pem"
    ca_file.write_text(certificate.authority)
    security = Security(username=f"user-{secrets.token_hex(4)}", password=secrets.token_hex(20), ca_file=ca_file)
    return scram_over_tls(certificate.key, certificate.chain), security


def scram_over_tls(key: str, chain: str) -> dict[str, str]:
    """Return what makes CLIENT speak SASL/SCRAM over TLS, with a server's key and certificates (PEM)."""
    client = "listener.name.client"
    return {
        "listener.security.protocol.map": "CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": MECHANISM,
        f"{client}.{MECHANISM.lower()}.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        f"{client}.ssl.keystore.type": "PEM",
        f"{client}.ssl.keystore.key": key,
        f"{client}.ssl.keystore.certificate.chain": chain,
    }


def as_file(properties: Mapping[str, str]) -> str:
    """Return the text of a server.properties; line ends inside a value are escaped as Java reads them."""
    return "".join(f"{name}={value}\n" for name, value in _escaped(properties).items())


def as_environ(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the variables from which the Apache image, and ours, make the server.properties."""
    return {
        "KAFKA_" + name.replace("_", "__").replace("-", "___").replace(".", "_").upper(): value
        for name, value in properties.items()
    }


def _escaped(properties: Mapping[str, str]) -> dict[str, str]:
    return {name: value.replace("\\", "\\\\").replace("\n", "\\n") for name, value in properties.items()}
