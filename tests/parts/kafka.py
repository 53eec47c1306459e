# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A real Kafka broker for tests, found in this order:

1. DRAGOMAN_TEST_KAFKA_BOOTSTRAP (host:port, plain): a broker that runs already. It is never killed.
2. A Docker engine that answers and has the image DRAGOMAN_TEST_KAFKA_IMAGE, or can pull it, through testcontainers. The
   image takes its properties from KAFKA_… variables, as that of Apache does.
3. Fetched by Maven at a pinned version, once, into $XDG_CACHE_HOME/dragoman/parts/kafka/<version>, and run by Java (17
   or later) on free loopback ports.

Broker and controller are one process (KRaft). What was acknowledged outlives kill and restart. No topic makes itself.
"""

import base64
import os
import secrets
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from tests.parts import kafka_properties as properties
from tests.parts.cache import free_ports, from_maven, made_once, pinned
from tests.parts.hosts import Container, Host, Process, image
from tests.parts.kafka_properties import Security
from tests.parts.missing import MissingPartError
from tests.parts.server import Server, gist, started

VERSION = "4.1.1"
ARTIFACTS = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.slf4j:slf4j-simple:1.7.36")
HASHES = Path(__file__).with_name("kafka.sha256")
IMAGE = "localhost/dragoman-kafka"
CONTAINER_PORT = 9092
JAVA_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    # Starts in half the time, and two cores have better things to do than to optimize a broker that lives for a minute.
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
START_S = 90.0
FORMAT_S = 60
_BOOTSTRAP = "DRAGOMAN_TEST_KAFKA_BOOTSTRAP"


class KafkaBroker(Server):
    """One broker. Killing and starting it again keeps its address, records and users."""

    def __init__(self, host: Host | None, *, bootstrap: str, security: Security | None = None) -> None:
        super().__init__(host, name=f"broker on {bootstrap}", start_s=START_S)
        self.bootstrap = bootstrap
        self.security = security

    def client_settings(self) -> dict[str, str]:
        """What librdkafka (confluent_kafka) needs to connect."""
        settings = {"bootstrap.servers": self.bootstrap}
        if self.security:
            settings |= {
                "security.protocol": self.security.protocol,
                "sasl.mechanism": self.security.mechanism,
                "sasl.username": self.security.username,
                "sasl.password": self.security.password,
                "ssl.ca.location": str(self.security.ca_file),
            }
        return settings

    def admin(self) -> AdminClient:
        """A client with every right, to look and meddle behind the back of what is tested."""
        return AdminClient(self.client_settings() | {"log_level": 0, "reconnect.backoff.max.ms": 100})

    def make_topic(self, partitions: int = 1, **config: str) -> str:
        """Make a topic of a new name, and return it. Underscores in the names of config stand for dots."""
        name = f"test-{secrets.token_hex(8)}"
        topic = NewTopic(name, partitions, 1, config={key.replace("_", "."): value for key, value in config.items()})
        admin = self.admin()
        # The client must outlive its answer.
        admin.create_topics([topic], request_timeout=30)[name].result()
        return name

    def _answers(self) -> bool:
        # It is a member, and leads every partition.
        try:
            cluster = self.admin().list_topics(timeout=1)
        except KafkaException:
            return False
        leaders = [part.leader for topic in cluster.topics.values() for part in topic.partitions.values()]
        return bool(cluster.brokers) and all(leader >= 0 for leader in leaders)


@contextmanager
def running(
    folder: Path, *, secured: bool = False, killable: bool = False, config: Mapping[str, str] | None = None
) -> Iterator[KafkaBroker]:
    """A broker for the time of the block, with data of its own (as a process: below folder).

    Args:
        folder: For data and log.
        secured: Whether clients must speak SASL/SCRAM-SHA-512 over TLS. Then it is always a process of its own.
        killable: Whether it must be one that the test may kill: then never the one that the environment names.
        config: Broker properties beside ours. Then it is always one of its own.

    Raises:
        MissingPartError: none of the three ways leads to one.
    """
    external = os.environ.get(_BOOTSTRAP)
    if external and not (secured or killable or config):
        broker = KafkaBroker(None, bootstrap=external)
        broker.wait_ready()
        yield broker
        return
    name = None if secured else image(os.environ.get("DRAGOMAN_TEST_KAFKA_IMAGE", IMAGE))
    broker, host = _started(folder, name, secured=secured, config=config or {})
    try:
        yield broker
    finally:
        host.remove()


def libraries() -> Path:
    """Return the folder of the broker's jars, fetched first if this machine has none.

    Raises:
        MissingPartError: no Maven, or it fetched other files than the pinned ones.
    """
    return made_once("kafka", VERSION, lambda into: from_maven(ARTIFACTS, pinned(HASHES), into))


def _started(
    folder: Path, image_name: str | None, *, secured: bool, config: Mapping[str, str]
) -> tuple[KafkaBroker, Host]:
    folder.mkdir(parents=True, exist_ok=True)
    more, security = properties.secured(folder) if secured else ({}, None)

    def make() -> tuple[KafkaBroker, Host]:
        client, internal, controller = free_ports(3)
        address = f"127.0.0.1:{client}"
        if image_name:
            host: Host = _container(image_name, client, config)
        else:
            settings = properties.node(
                listen=address, advertised=address, internal_port=internal, controller_port=controller
            )
            host = _process(folder, settings | more | config, security)
        return KafkaBroker(host, bootstrap=address, security=security), host

    return started(make)


def _container(image_name: str, host_port: int, config: Mapping[str, str]) -> Container:
    settings = properties.node(
        listen=f":{CONTAINER_PORT}",
        advertised=f"127.0.0.1:{host_port}",
        internal_port=CONTAINER_PORT + 1,
        controller_port=CONTAINER_PORT + 2,
    )
    environ = {"CLUSTER_ID": cluster_id(), **properties.as_environ(settings | config)}
    return Container(image_name, port=CONTAINER_PORT, host_port=host_port, environ=environ)


def _process(folder: Path, settings: Mapping[str, str], security: Security | None) -> Process:
    if shutil.which("java") is None:
        raise MissingPartError(
            f"{_BOOTSTRAP} is not set, no Docker engine has the image {IMAGE}, and there is no Java to run it with"
        )
    data, scratch, file = folder / "data", folder / "tmp", folder / "server.properties"
    # A folder that a broker has been started on before keeps its data; only addresses change.
    scratch.mkdir(exist_ok=True)
    file.write_text(properties.as_file({**settings, "log.dirs": str(data)}))
    file.chmod(0o600)
    java = ["java", *JAVA_OPTIONS, f"-Djava.io.tmpdir={scratch}", "-cp", f"{libraries()}/*"]
    if not (data / "meta.properties").exists():
        users = ["--add-scram", security.scram_user] if security else []
        command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id(), "-c", str(file), *users]
        formatted = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_S, check=False)
        if formatted.returncode:
            raise MissingPartError(f"Kafka's StorageTool: {gist(formatted.stderr)}")
    return Process([*java, "kafka.Kafka", str(file)], folder / "kafka.log", environ={"HOME": str(folder)})


def cluster_id() -> str:
    """A new one; drawn again while it begins as an option does, one in 64, which the StorageTool would take it for."""
    while (drawn := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return drawn
