# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The two consumers of examples/consumer, built and run as somebody outside would, and a crooked stream for them.

Built outside of the checkout: Python with a venv that holds the requirements and nothing else, Java by Maven, once per
state of its sources. The stream goes through the gateway's own mapping, so its events are the gateway's.
"""

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from dragoman_events.ports import Message
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_gateway.durability import parse_durability
from dragoman_gateway.journal import outgoing_of
from dragoman_gateway.record import FeedbackRecord, PredictionRecord
from tests.parts.cache import made_once
from tests.parts.kafka import KafkaBroker
from tests.parts.missing import MissingPartError

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "examples" / "consumer" / "python"
JAVA = ROOT / "examples" / "consumer" / "java"
PROTOS = ROOT / "protos"
EVENTS_PROTO = "dragoman/events/v1/events.proto"
RUN_S = 120
BUILD_S = 600
# Two labels that UTF-16 and Unicode order differently: ties are settled by the text.
LABELS = ("acq", "crude", "earn", "Öl", "\uffee", "\U0001d11e")
UNKNOWN_LABELS = ("typo", "crudee")


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """A built consumer."""

    command: Sequence[str]
    config: Path
    """Its client's settings: each example has those of its own client library."""

    def run(self, *options: str) -> dict[str, Any]:
        """What it prints at the end of the topics."""
        command = [*self.command, str(self.config), "--until-end", *options]
        completed = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
        assert completed.returncode == 0, completed.stderr
        (line,) = completed.stdout.splitlines()
        return json.loads(line)

    @contextmanager
    def following(self, *options: str) -> Iterator["Following"]:
        """It as a process that goes on, asked to stop at the end of the block."""
        command = [*self.command, str(self.config), "--follow", "--every-s", "0.1", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield Following(process)
            process.terminate()
            # Read on: a pipe that is full would hold it back.
            process.communicate(timeout=RUN_S)
            # Java says with its exit code that a signal ended it, after it has closed everything.
            assert process.returncode in (0, 143)
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


class Following:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def document(self) -> dict[str, Any]:
        """The next one that it prints."""
        line = self._process.stdout.readline()
        assert line, "it has ended"
        return json.loads(line)


def python_consumer(folder: Path, broker: KafkaBroker, *, changed: tuple[str, str] | None = None) -> Consumer:
    """The Python example in a folder of its own, beside its compiled protos, in a venv of its requirements only.

    `changed`: a piece of its source that must occur once, and what stands there instead.
    """
    source = (PYTHON / "consumer.py").read_text()
    if changed:
        assert source.count(changed[0]) == 1
        source = source.replace(*changed)
    generated = folder / "generated"
    generated.mkdir(parents=True)
    (folder / "consumer.py").write_text(source)
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--python_out={generated}", EVENTS_PROTO]
    subprocess.run(compiler, check=True)
    config = folder / "client.properties"
    settings = broker.client_settings() | {"heartbeat.interval.ms": "300"}
    config.write_text("# librdkafka's names\n" + "".join(f"{name}={value}\n" for name, value in settings.items()))
    # -I: no PYTHONPATH, no folder of the caller's.
    return Consumer(command=[str(_venv(folder / "venv")), "-I", str(folder / "consumer.py")], config=config)


def _venv(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(folder)], check=True)
    site = next(folder.glob("lib/python3*/site-packages"))
    for requirement in _runtime_requirements():
        name, _, version = requirement.partition("==")
        found = distribution(name)
        assert found.version == version, f"requirements.txt pins {requirement}, the lock has {found.version}"
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                (site / file).symlink_to(found.locate_file(file))
    return folder / "bin" / "python"


def _runtime_requirements() -> list[str]:
    lines = (PYTHON / "requirements.txt").read_text().splitlines()
    # The compiler is not needed where the consumer runs.
    return [line for line in lines if line and not line.startswith(("#", "grpcio-tools"))]


def java_consumer(folder: Path, broker: KafkaBroker) -> Consumer:
    """The Java example, built in the parts' cache.

    Raises:
        MissingPartError: no Java, no Maven, or what it needs cannot be fetched.
    """
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise MissingPartError(f"there is no {tool} for examples/consumer/java")
    sources = sorted([JAVA / "pom.xml", PROTOS / EVENTS_PROTO, *JAVA.glob("src/**/*.java")])
    state = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    built = made_once("example-consumer-java", state, _build_java)
    folder.mkdir()
    config = folder / "client.properties"
    settings = {"bootstrap.servers": broker.bootstrap, "heartbeat.interval.ms": "300"}
    if broker.security:
        login = "org.apache.kafka.common.security.scram.ScramLoginModule"
        user = f'username="{broker.security.username}" password="{broker.security.password}"'
        settings |= {
            "security.protocol": broker.security.protocol,
            "sasl.mechanism": broker.security.mechanism,
            "sasl.jaas.config": f"{login} required {user};",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(broker.security.ca_file),
        }
    config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m"]
    return Consumer(command=["java", *options, "-jar", str(built / "consumer.jar")], config=config)


def _build_java(into: Path) -> None:
    command = ["mvn", "--quiet", "--batch-mode", "package", f"-Dtarget={into}"]
    built = subprocess.run(command, cwd=JAVA, capture_output=True, text=True, timeout=BUILD_S, check=False)
    if built.returncode:
        raise MissingPartError(f"Maven could not build examples/consumer/java: {' '.join(built.stdout.split())[-400:]}")


# ---- the stream


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Messages by topic in the order of writing, and what is true of them by construction."""

    messages: Mapping[str, Sequence[Message]]
    num_tokens: int
    """Of tenant acme's model r8, each row once."""


def stream(*, num_calls: int, seed: int = 12) -> Stream:
    """Two tenants, two models, three arms; duplicates, corrections, ties, late and lonely events, poison; shuffled."""
    rng = random.Random(seed)
    now = datetime.now(UTC)
    predictions = [row for number in range(num_calls) for row in _call(rng, number, now)]
    feedback = [label for row in predictions if row.arm != "shadow" for label in _labels(rng, row, now)]
    feedback += [replace(label, request_id=f"{rng.getrandbits(128):032x}") for label in feedback[:20]]
    messages = {}
    for topic, records in ((PREDICTIONS, predictions), (FEEDBACK, feedback)):
        copies = [record for record in records if rng.random() < 0.1]
        messages[topic] = [*_messages([*records, *copies]), *_poison(_messages(records[:1])[0], topic)]
        rng.shuffle(messages[topic])
    ours = [row for row in predictions if (row.tenant, row.model) == ("acme", "r8")]
    return Stream(messages=messages, num_tokens=sum(row.num_tokens for row in ours))


def _call(rng: random.Random, number: int, now: datetime) -> list[PredictionRecord]:
    arm = rng.choice(("stable", "stable", "stable", "canary"))
    request_id = f"{rng.getrandbits(128):032x}"
    tenant = rng.choice(("acme", "acme", "acme", "globex"))
    model = rng.choice(("r8", "r8", "r8", "ag_news"))
    # A late event: its call was accepted days ago.
    age = timedelta(days=20) if number % 25 == 0 else timedelta(seconds=rng.uniform(0, 900))
    rows = []
    for row in range(rng.randint(1, 3)):
        code = rng.choice(("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")) if rng.random() < 0.08 else "OK"
        num_tokens = rng.randrange(0, 200)
        answered = PredictionRecord(
            tenant=tenant,
            subject="somebody",
            request_id=request_id,
            row=row,
            model=model,
            version=2 if arm == "canary" else 1,
            root_sha256="0" * 64,
            arm=arm,
            code=code,
            label=rng.choice(LABELS) if code == "OK" else "",
            score=rng.random() if code == "OK" else 0.0,
            num_tokens=num_tokens,
            num_unknown_tokens=rng.randint(0, num_tokens),
            truncated=rng.random() < 0.1,
            accept_time=now - age,
            latency_ms=rng.lognormvariate(1, 1),
        )
        rows.append(answered)
        if arm == "stable" and number % 3 == 0 and code == "OK":
            rows.append(replace(answered, arm="shadow", version=2, label=rng.choice(LABELS)))
    return rows


def _labels(rng: random.Random, row: PredictionRecord, now: datetime) -> list[FeedbackRecord]:
    """None, one, or several for one row: the newest holds; of equally new ones the text that is later in Unicode."""
    if rng.random() < 0.3:
        return []
    label = FeedbackRecord(
        tenant=row.tenant,
        subject="somebody",
        request_id=row.request_id,
        row=row.row,
        true_label=rng.choice((row.label or "earn", rng.choice(LABELS), rng.choice(UNKNOWN_LABELS))),
        receive_time=now - timedelta(seconds=rng.uniform(0, 300)),
    )
    corrected = replace(label, true_label=rng.choice(LABELS), receive_time=label.receive_time + timedelta(seconds=1))
    tied = [replace(label, true_label=text) for text in ("\uffee", "\U0001d11e", "crude")]
    return rng.choices(([label], [label, corrected], tied), weights=(7, 2, 1))[0]


def _messages(records: Iterable[PredictionRecord | FeedbackRecord]) -> list[Message]:
    # A tenant that is sampled: its events say what they stand for, and count once here as everywhere.
    of_tenant = {"globex": parse_durability("sampled:4")}
    durability = parse_durability("acked")
    return [outgoing_of(record, of_tenant.get(record.tenant, durability)).message for record in records]


def _poison(good: Message, topic: str) -> list[Message]:
    """What no reader may count; each is one event that differs from a good one in one thing."""
    now = datetime.now(UTC)
    fresh = {"tenant": "acme", "subject": "s", "request_id": "p" * 32, "row": 0}

    def prediction(**changes: object) -> PredictionRecord:
        fields: dict[str, Any] = {
            "model": "r8",
            "version": 1,
            "root_sha256": "0" * 64,
            "arm": "stable",
            "code": "OK",
            "label": "earn",
            "score": 0.5,
            "accept_time": now,
            "latency_ms": 1.0,
        }
        return PredictionRecord(**(fresh | fields | changes))

    def feedback(**changes: object) -> FeedbackRecord:
        return FeedbackRecord(**(fresh | {"true_label": "earn", "receive_time": now} | changes))

    def headers(**changes: bytes) -> Message:
        named = {name.replace("content_type", "content-type"): value for name, value in changes.items()}
        return replace(good, headers=dict(good.headers) | named)

    crooked: list[PredictionRecord | FeedbackRecord]
    if topic == PREDICTIONS:
        crooked = [
            *(prediction(score=score) for score in (float("nan"), 1.5, -0.1)),
            *(prediction(latency_ms=latency) for latency in (float("nan"), float("inf"), -1.0)),
            *(prediction(label=label) for label in ("", "x" * 990_000, "x" * 129, "nul\0")),
            *(prediction(version=version) for version in (0, -1)),
            *(prediction(row=row) for row in (-1, 1_000_001)),
            prediction(arm="blue"),
            prediction(code="ok"),
            prediction(model="m" * 257),
            prediction(num_tokens=1, num_unknown_tokens=2),
            prediction(accept_time=datetime(1970, 1, 1, tzinfo=UTC)),
            # Of the other topic.
            feedback(),
        ]
    else:
        crooked = [
            *(feedback(true_label=label) for label in ("", "x" * 129, "nul\0")),
            feedback(row=-1),
            feedback(receive_time=datetime(1970, 1, 1, tzinfo=UTC)),
            prediction(),
        ]
    return [
        *_messages(crooked),
        replace(good, value=b"\xff\xff\xff"),
        replace(good, value=b""),
        # A text field that is not UTF-8: number 1, two bytes.
        replace(good, value=b"\x0a\x02\xff\xfe"),
        replace(good, headers={}),
        headers(ce_type=b"dragoman.events.v9.Prediction"),
        headers(content_type=b"application/json"),
        headers(ce_specversion=b"0.3"),
        headers(ce_id=b"\xff"),
        headers(ce_id=b""),
        headers(ce_source=b""),
        headers(ce_time=b"yesterday"),
        headers(ce_subject=b"x" * 1025),
        headers(ce_subject=b"line\nfeed"),
        headers(ce_UPPER=b"x"),
        headers(ce_tenant=b"other"),
        headers(ce_tenant=b"\xff"),
        headers(ce_requestid=b"other"),
        headers(ce_sampledrate=b"0"),
        headers(ce_sampledrate="٣".encode()),
    ]


def environment(broker: KafkaBroker) -> dict[str, str]:
    """What a service is told of the broker, without its prefix."""
    settings = {"EVENTS_URL": f"kafka://{broker.bootstrap}", "KAFKA_CREATE_TOPICS": "true", "KAFKA_REPLICATION": "1"}
    if broker.security:
        settings |= {
            "KAFKA_TLS": "true",
            "KAFKA_CA_FILE": str(broker.security.ca_file),
            "KAFKA_SASL_MECHANISM": broker.security.mechanism,
            "KAFKA_USERNAME": broker.security.username,
            "KAFKA_PASSWORD": broker.security.password,
        }
    return settings
