# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""`dragoman up --real`: the loop on a real Kafka, MinIO and Postgres, and nothing of it in files of the home."""

import json
import stat
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from dragoman_client.local.process import processes_of_run
from dragoman_client.results import FeedbackItem
from tests.integration import consumers, corpus
from tests.integration.installation import CommandFailedError, Installation, free_port, until
from tests.parts import together
from tests.parts.missing import required

RECIPES = Path(__file__).parent / "recipes"
CALLS = 24


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("parts")
        yield together.required(stack, folder)


@pytest.fixture(scope="module")
def real(parts, tmp_path_factory):
    """A platform on the parts, which it finds by the file of --env."""
    root = tmp_path_factory.mktemp("real")
    made = Installation(home=root / "home", cache=root / "cache", grpc_port=free_port(), http_port=free_port())
    env = root / "env"
    env.write_text("# of a test\n" + "".join(f"export {name}={value}\n" for name, value in parts.environ.items()))
    train, test = corpus.write(root)
    made.run("data", "add", "topics", str(train), str(test))
    ports = ("--grpc-port", str(made.grpc_port), "--http-port", str(made.http_port))
    made.run("up", "--detach", *ports, "--real", "--env", str(env))
    try:
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def answered(real):
    """The request ids of the calls that were answered, each with its feedback sent."""
    version = real.train(RECIPES / "linear.yaml", "topics")
    # It waits until the version answers; every call from here on is one that is counted.
    real.run("alias", "topics", "prod", str(version), "--reason", "test")
    ids = []
    with real.client() as client:
        for row in corpus.rows(CALLS, seed=5):
            answer = client.classify("topics", [row["text"]])
            client.feedback([FeedbackItem(request_id=answer.request_id, row=0, true_label=row["label"])])
            ids.append(answer.request_id)
    return ids


def tailed(real, topic):
    return [
        json.loads(line) for line in real.run("events", "tail", "--topic", topic, "--from-start", "--json").splitlines()
    ]


def measures(real):
    report = real.json("report", "topics")
    return report["versions"][0] if report["versions"] else {"num_predictions": 0, "num_labelled": 0}


def test_loop_is_counted_in_postgres_as_it_is_logged_in_kafka(real, parts, answered):
    until(lambda: measures(real)["num_labelled"] == CALLS, timeout_s=60)
    assert measures(real)["num_predictions"] == CALLS
    predictions = tailed(real, "dragoman.predictions")
    assert sorted(event["data"]["request_id"] for event in predictions) == sorted(answered)
    # Followed in every partition, not in the first alone.
    assert len({event["partition"] for event in predictions}) > 1
    password = Path(parts.environ["DRAGOMAN_UP_STATE_PASSWORD_FILE"]).read_text()
    with psycopg.connect(parts.environ["DRAGOMAN_UP_STATE_URL"], password=password) as books:
        assert books.execute("SELECT count(*) FROM predictions").fetchone() == (CALLS,)


@pytest.mark.parametrize("language", ["python", "java"])
async def test_consumers_of_others_count_what_the_platform_reports(real, parts, answered, tmp_path, language):
    until(lambda: measures(real)["num_labelled"] == CALLS, timeout_s=60)
    async with real.operator() as operator:
        report = consumers.report_counts(await operator.report("topics"))
    make = {"python": consumers.python_consumer, "java": consumers.java_consumer}[language]
    consumer = required(language, lambda: make(tmp_path / language, parts.kafka))
    assert consumers.document_counts(consumer.run(), tenant="local", model="topics") == report


def test_versions_are_in_the_bucket_and_nothing_is_in_the_homes_files(real, parts, answered):
    bucket = parts.environ["DRAGOMAN_UP_STORE_URL"].partition("//")[2].partition("?")[0]
    names = [item.object_name for item in parts.minio.admin().list_objects(bucket, recursive=True)]
    assert any("topics" in name for name in names)
    assert not (real.home / "events.db").exists()
    assert not (real.home / "monitor.db").exists()
    assert not any(path.is_file() for path in (real.home / "store").rglob("*"))


def test_no_secret_is_in_a_log_an_argument_an_environment_or_the_state(real, parts, answered):
    password = Path(parts.environ["DRAGOMAN_UP_STATE_PASSWORD_FILE"]).read_text()
    state = json.loads((real.home / "run" / "state.json").read_text())
    processes = processes_of_run(state["run_id"], real.home / "jobs")
    assert processes
    shown = [path.read_bytes() for path in (*(real.home / "logs").iterdir(), *(real.home / "run").iterdir())]
    shown += [Path(f"/proc/{p.pid}/{name}").read_bytes() for p in processes for name in ("cmdline", "environ")]
    shown.append((real.home / "parts.json").read_bytes())
    for secret in (password, parts.minio.secret_key):
        assert not any(secret.encode() in text for text in shown)
    assert stat.S_IMODE((real.home / "parts.json").stat().st_mode) == 0o600


def test_down_leaves_the_parts_and_another_up_finds_what_was_there(real, parts, answered):
    real.down()
    assert parts.minio.admin().list_buckets()
    assert len(tailed(real, "dragoman.predictions")) == CALLS
    again = Installation(
        home=real.home,
        cache=real.cache,
        grpc_port=real.grpc_port,
        http_port=real.http_port,
        variables={**parts.environ, "DRAGOMAN_UP_REAL": "true"},
    )
    again.up()
    with again.client() as client:
        until(lambda: client.classify("topics", ["grain1"], timeout_s=60).version == 1, timeout_s=60)
    assert measures(again)["num_labelled"] == CALLS


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"DRAGOMAN_UP_EVENTS_URL": "kafka://127.0.0.1:1"}, "nothing listens on 127.0.0.1:1"),
        ({"DRAGOMAN_UP_EVENTS_URL": "sqlite:///events.db"}, "EVENTS_URL must begin with kafka://"),
        ({"DRAGOMAN_UP_STATE_URL": "postgresql://a:secret@127.0.0.1/b"}, "STATE_URL holds a password"),
        ({"DRAGOMAN_UP_S3_CREDENTIALS_FILE": "/nowhere/at-all"}, "/nowhere/at-all, which DRAGOMAN_UP_"),
        ({"DRAGOMAN_UP_KAFKA_PASSWORD": "secret"}, "passwords are given by file only"),
    ],
)
def test_parts_that_cannot_be_used_are_named_before_anything_starts(parts, tmp_path, change, says):
    made = Installation(
        home=tmp_path / "home",
        cache=tmp_path / "cache",
        grpc_port=free_port(),
        http_port=free_port(),
        variables={**parts.environ, **change, "DRAGOMAN_UP_REAL": "true"},
    )
    with pytest.raises(CommandFailedError) as refused:
        made.up()
    assert says in refused.value.stderr
    assert "secret" not in refused.value.stderr.replace("holds a secret", "")
    assert not (made.home / "run" / "state.json").exists()
