# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The two consumers of examples/consumer, built and run as somebody outside would, and their counts beside a report's.

Built outside of the checkout: Python with a venv that holds the requirements and nothing else, Java by Maven, once per
state of its sources.
"""

import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

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
        following = Following(process)
        try:
            yield following
            process.terminate()
            # Java says with its exit code that a signal ended it, after it has closed everything.
            assert process.wait(RUN_S) in (0, 143)
        finally:
            process.kill()
            process.wait()
            following.close()


class Following:
    """What a process prints, read along by a thread: one whose pipe is full would stop, and its group with it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._changed = threading.Condition()
        self._line: str | None = None
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def document(self) -> dict[str, Any]:
        """The next one that it prints."""
        with self._changed:
            if self._line != "":
                self._line = None
            self._changed.wait_for(lambda: self._line is not None, timeout=RUN_S)
            assert self._line, "it has ended, or prints nothing"
            return json.loads(self._line)

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for a document of which the condition holds."""
        ends_s = time.monotonic() + RUN_S
        while not condition(document := self.document()):
            assert time.monotonic() < ends_s, f"still {document}"

    def close(self) -> None:
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        # The empty one at last says that there will be no other.
        for line in itertools.chain(self._process.stdout, [""]):
            with self._changed:
                self._line = line
                self._changed.notify_all()


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
    sources = sorted(
        [JAVA / "pom.xml", PROTOS / EVENTS_PROTO, *(path for path in JAVA.glob("src/**/*") if path.is_file())]
    )
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
    # What does not compile is not missing.
    assert "COMPILATION ERROR" not in built.stdout, built.stdout
    if built.returncode:
        raise MissingPartError(f"Maven could not build examples/consumer/java: {' '.join(built.stdout.split())[-400:]}")


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


def _of_report(measures):
    """A GetReport's counts, under the consumers' names."""
    confusion = {}
    for cell in measures.confusion:
        assert not cell.true_is_other
        assert not cell.predicted_is_other
        confusion.setdefault(cell.true_label, {})[cell.predicted_label] = cell.count
    return {
        "predictions": measures.num_predictions,
        "errors": measures.num_errors,
        "errors_by_code": dict(measures.errors_by_code),
        "by_label": dict(measures.predictions_by_label),
        "labelled": measures.num_labelled,
        "correct": measures.num_correct,
        "accuracy": measures.accuracy if measures.HasField("accuracy") else None,
        "confusion": confusion,
        "truncated": measures.num_truncated,
        "unknown_token_share": measures.unknown_token_share if measures.HasField("unknown_token_share") else None,
    }


def _of_document(measures):
    """The same of what a consumer prints: shares of its integers."""
    by_code = measures["by_code"]
    return {
        "predictions": measures["predictions"],
        "errors": measures["predictions"] - by_code.get("OK", 0),
        "errors_by_code": {code: count for code, count in by_code.items() if code != "OK"},
        "by_label": measures["by_label"],
        "labelled": measures["labelled"],
        "correct": measures["correct"],
        "accuracy": measures["correct"] / measures["labelled"] if measures["labelled"] else None,
        "confusion": measures["confusion"],
        "truncated": measures["truncated"],
        "unknown_token_share": measures["unknown_tokens"] / measures["tokens"] if measures["tokens"] else None,
    }


def report_counts(report):
    """All that a report counts: versions with their windows, and what was passed over."""
    freshness = report.freshness
    return {
        "versions": {
            (version.version, version.arm): (
                _of_report(version.total),
                {
                    window.start_time.ToDatetime(UTC).isoformat(): _of_report(window.measures)
                    for window in version.windows
                },
            )
            for version in report.versions
        },
        "duplicates": freshness.num_duplicates,
        "unjoined": freshness.num_unjoined_feedback,
        "poison": freshness.num_dead_letters,
    }


def document_counts(document, *, tenant="acme", model="r8"):
    """The same of what a consumer prints."""
    tallies = Counter()
    # A report's dead letters are the tenant's, and those that are nobody's.
    for name in (tenant, ""):
        tallies.update(document["tenants"].get(name, {}))
    return {
        "versions": {
            (version["version"], version["arm"]): (
                _of_document(version["total"]),
                {
                    datetime.fromisoformat(window["start_time"]).isoformat(): _of_document(window)
                    for window in version["windows"]
                },
            )
            for version in document["versions"]
            if (version["tenant"], version["model"]) == (tenant, model)
        },
        "duplicates": tallies["duplicates"],
        "unjoined": tallies["unjoined_feedback"],
        "poison": tallies["poison"],
    }
