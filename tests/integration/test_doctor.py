# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""`dragoman doctor` on a platform on real parts: each real thing is broken, and its line says what and what to do."""

import asyncio
import importlib.util
import json
import os
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic
from psycopg import sql

from dragoman_client.doctor import books, broker, store
from dragoman_client.doctor.deployment import Deployment
from dragoman_client.local.home import Home
from dragoman_client.local.parts import RealParts
from dragoman_client.local.process import ProcessIdentity
from dragoman_common.service_keys import ServiceKey
from tests.integration import corpus
from tests.integration.installation import CommandFailedError, Installation, free_port, until
from tests.parts import kafka, together
from tests.parts.missing import required

RECIPES = Path(__file__).parent / "recipes"
NOTHING = (
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
    "<IsTruncated>false</IsTruncated></ListBucketResult>"
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("parts")
        yield together.required(stack, folder, killable=True)


@pytest.fixture(scope="module")
def real(parts, tmp_path_factory):
    """A platform on the parts, with a model that answers."""
    root = tmp_path_factory.mktemp("doctor")
    made = Installation(
        home=root / "home",
        cache=root / "cache",
        grpc_port=free_port(),
        http_port=free_port(),
        variables={**parts.environ, "DRAGOMAN_UP_REAL": "true"},
    )
    train, test = corpus.write(root)
    made.run("data", "add", "topics", str(train), str(test))
    made.up()
    try:
        version = made.train(RECIPES / "linear.yaml", "topics")
        made.run("alias", "topics", "prod", str(version), "--reason", "test")
        yield made
    finally:
        made.down()


def examined(real, *arguments):
    """The exit code, and the findings by part and check; several of one check are joined."""
    code, text = 0, ""
    try:
        text = real.run("doctor", *arguments, "--json")
    except CommandFailedError as error:
        code, text = error.exit_code, error.stdout
    # A traceback is no document.
    document = json.loads(text)
    assert document["is_healthy"] == (code == 0)
    found = {}
    for finding in document["findings"]:
        found.setdefault((finding["part"], finding["check"]), []).append(finding)
    return code, found


def fails(real, part, check, *arguments):
    """The failing line of a check, with its advice; the doctor exits with 1."""
    code, found = examined(real, *arguments)
    assert code == 1
    lines = [f"{f['message']} -> {f['advice']}" for f in found.get((part, check), ()) if f["status"] == "fail"]
    assert lines, found
    return "; ".join(lines)


def env_file(folder, parts, **changes):
    """A file for --env that differs from what the platform runs on."""
    values = {**parts.environ, **{f"DRAGOMAN_UP_{name}": str(value) for name, value in changes.items()}}
    path = folder / "env"
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return "--env", str(path)


def secret_file(folder, text):
    path = folder / "secret"
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@contextmanager
def replaced(path, data, mode=0o600):
    """Another content for the time of the block."""
    before, was = path.read_bytes(), path.stat().st_mode
    path.write_bytes(data)
    path.chmod(mode)
    try:
        yield
    finally:
        path.write_bytes(before)
        path.chmod(was)


def test_healthy_platform_has_no_line_but_ok(real):
    code, found = examined(real)
    assert {f["status"] for findings in found.values() for f in findings} == {"ok"}
    assert code == 0
    assert {part for part, _ in found} == {
        *("registry", "tokenizer", "launcher", "worker", "monitor", "gateway"),
        *("keys", "models", "broker", "store", "books", "files"),
    }
    assert {part for part, check in found if check == "clock"} == {
        *("registry", "tokenizer", "launcher", "worker", "monitor", "gateway"),
        *("broker", "store", "books"),
    }
    # Nothing of the probes is left.
    assert not [name for name in real_topics(real) if "doctor" in name]


def real_topics(real):
    from confluent_kafka.admin import AdminClient

    bootstrap = real.variables["DRAGOMAN_UP_EVENTS_URL"].removeprefix("kafka://")
    return AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics


def test_lines_for_people_name_status_part_check_and_advice(real):
    with replaced(real.home / "keys" / "trust.json", b"{}", mode=0o644), pytest.raises(CommandFailedError) as failed:
        real.run("doctor")
    lines = failed.value.stdout.splitlines()
    assert any(line.startswith("ok      registry health: ") for line in lines)
    [line] = [line for line in lines if "another key for worker" in line]
    assert line.startswith("fail    keys trust: ")
    assert line.endswith("-> `dragoman down`, then `dragoman up`")


def test_killed_broker(real, parts):
    parts.kafka.kill()
    try:
        assert "start Kafka" in fails(real, "broker", "reachable")
    finally:
        parts.kafka.start()
    until(lambda: examined(real)[0] == 0, timeout_s=60)


def test_killed_store(real, parts):
    parts.minio.kill()
    try:
        assert "start the store" in fails(real, "store", "reachable")
    finally:
        parts.minio.start()


def test_killed_postgres(real, parts):
    parts.postgres.kill()
    try:
        assert "start Postgres" in fails(real, "books", "reachable")
    finally:
        parts.postgres.start()
    until(lambda: examined(real)[0] == 0, timeout_s=60)


def test_missing_topics_and_wrong_partitions_and_retention(real, parts, tmp_path):
    admin = parts.kafka.admin()
    wrong = NewTopic("bad.dragoman.predictions", 2, 1, config={"retention.ms": "1000"})
    admin.create_topics([wrong])[wrong.topic].result()
    said = fails(real, "broker", "topics", *env_file(tmp_path, parts, KAFKA_PREFIX="bad."))
    assert "it has 2 partitions and must have 6" in said
    assert "retention.ms is 1000 and must be 2592000000 or more" in said
    assert "Kafka lacks topics" in said
    assert "bad.dragoman.feedback" in said
    assert "kafka-topics" in said


@pytest.mark.parametrize(("ahead_s", "status"), [(0.0, "ok"), (20.0, "warn"), (-20.0, "warn"), (90.0, "fail")])
async def test_clocks_of_the_parts(parts, tmp_path, monkeypatch, ahead_s, status):
    deployment = Deployment(home=Home(tmp_path), parts=RealParts.of(parts.environ).settings)
    # The parts have this machine's clock; the doctor is given another one.
    for module, check in ((broker, broker.check_broker), (store, store.check_store), (books, books.check_books)):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: time.time() - ahead_s))
        [found] = [finding async for finding in check(deployment) if finding.check == "clock"]
        assert found.status == status, found
        assert ("ahead" in found.message) == (ahead_s > 0)


def test_too_few_copies(real, parts, tmp_path):
    said = fails(real, "broker", "topics", *env_file(tmp_path, parts, KAFKA_REPLICATION=3))
    assert "it has 1 replicas and must have 3 or more" in said


def test_wrong_password_of_a_secured_broker(real, parts, tmp_path):
    with ExitStack() as stack:
        secured = required("kafka", lambda: stack.enter_context(kafka.running(tmp_path / "kafka", secured=True)))
        settings = {
            "EVENTS_URL": f"kafka://{secured.bootstrap}",
            "KAFKA_TLS": "true",
            "KAFKA_CA_FILE": secured.security.ca_file,
            "KAFKA_SASL_MECHANISM": secured.security.mechanism,
            "KAFKA_CREDENTIALS_FILE": secret_file(tmp_path, f"username={secured.security.username}\npassword=wrong\n"),
        }
        assert "correct the user" in fails(real, "broker", "auth", *env_file(tmp_path, parts, **settings))
        secret_file(tmp_path, f"username={secured.security.username}\npassword={secured.security.password}\n")
        _, found = examined(real, *env_file(tmp_path, parts, **settings))
        assert found["broker", "reachable"][0]["message"].endswith("over TLS")


def test_wrong_credentials_of_the_store(real, parts, tmp_path):
    text = f"[default]\naws_access_key_id = {parts.minio.access_key}\naws_secret_access_key = wrong-wrong\n"
    said = fails(
        real, "store", "credentials", *env_file(tmp_path, parts, S3_CREDENTIALS_FILE=secret_file(tmp_path, text))
    )
    assert "SignatureDoesNotMatch" in said
    assert "correct DRAGOMAN_UP_S3_CREDENTIALS_FILE" in said
    broken = secret_file(tmp_path, "not a profile: tell-nobody")
    said = fails(real, "store", "credentials", *env_file(tmp_path, parts, S3_CREDENTIALS_FILE=broken))
    assert "tell-nobody" not in said


def test_missing_bucket(real, parts, tmp_path):
    url = f"s3://no-such-bucket?endpoint={parts.minio.endpoint}"
    assert "there is no bucket" in fails(real, "store", "bucket", *env_file(tmp_path, parts, STORE_URL=url))


def test_encryption_that_the_store_cannot_do(real, parts, tmp_path):
    code, found = examined(real, *env_file(tmp_path, parts, S3_ENCRYPTION="AES256"))
    assert (code, found["store", "encryption"][0]["message"]) == (0, "objects are encrypted with AES256")
    wrong = {"S3_ENCRYPTION": "aws:kms", "S3_ENCRYPTION_KEY_ID": "no-such-key"}
    assert "unset DRAGOMAN_UP_S3_ENCRYPTION" in fails(real, "store", "encryption", *env_file(tmp_path, parts, **wrong))


def _listing_store():
    """The registry's fake store, which also lists and deletes."""
    path = Path(__file__).parents[2] / "services" / "registry" / "tests" / "fake_s3.py"
    spec = importlib.util.spec_from_file_location("doctor_fake_s3", path)
    fake_s3 = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = fake_s3
    spec.loader.exec_module(fake_s3)

    class Listing(fake_s3.FakeS3):
        def do(self, request, body):
            key = request.match_info["key"].removeprefix("/")
            if request.method == "DELETE":
                self.objects.pop(key)
            if request.method == "GET" and not key:
                return web.Response(text=NOTHING, content_type="application/xml")
            return super().do(request, body)

    return Listing()


async def test_store_that_does_not_honour_conditions(real, parts, tmp_path):
    fake = _listing_store()
    async with TestServer(fake.app()) as server:
        arguments = env_file(tmp_path, parts, STORE_URL=f"s3://bucket?endpoint=http://127.0.0.1:{server.port}")
        _, found = await asyncio.to_thread(examined, real, *arguments)
        assert found["store", "conditions"][0]["status"] == "ok"
        fake.honours_conditions = False
        said = await asyncio.to_thread(fails, real, "store", "conditions", *arguments)
    assert "overwrites in spite of If-None-Match" in said
    assert fake.objects == {}


def test_wrong_password_of_postgres(real, parts, tmp_path):
    said = fails(
        real,
        "books",
        "credentials",
        *env_file(tmp_path, parts, STATE_PASSWORD_FILE=secret_file(tmp_path, "wrong-wrong")),
    )
    assert "password authentication failed" in said
    assert "wrong-wrong" not in said


def test_database_without_tables(real, parts, tmp_path):
    at = urlsplit(parts.postgres.make_database())
    url = f"postgresql://{at.username}@{at.hostname}:{at.port}{at.path}"
    said = fails(real, "books", "migrations", *env_file(tmp_path, parts, STATE_URL=url))
    assert "the monitor's tables are not there" in said


def test_user_who_may_only_read(real, parts, tmp_path):
    at = urlsplit(parts.environ["DRAGOMAN_UP_STATE_URL"])
    password = Path(parts.environ["DRAGOMAN_UP_STATE_PASSWORD_FILE"]).read_text()
    with psycopg.connect(parts.environ["DRAGOMAN_UP_STATE_URL"], password=password, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE reader LOGIN PASSWORD {}").format(sql.Literal("reading")))
        admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    settings = {
        "STATE_URL": f"postgresql://reader@{at.hostname}:{at.port}{at.path}",
        "STATE_PASSWORD_FILE": secret_file(tmp_path, "reading"),
    }
    said = fails(real, "books", "rights", *env_file(tmp_path, parts, **settings))
    assert "INSERT on predictions" in said
    assert "CREATE on the schema" in said
    assert "SELECT on predictions" not in said


def test_stopped_worker(real):
    pid = int(real.service("worker")["pid"])
    os.kill(pid, signal.SIGSTOP)
    try:
        code, found = examined(real)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert code == 1
    assert "does not answer" in found["worker", "health"][0]["message"]
    assert "dragoman down" in found["worker", "health"][0]["advice"]
    assert found["models", "loaded"][0]["status"] == "fail"
    assert found["registry", "health"][0]["status"] == "ok"


def test_key_that_other_users_may_read(real):
    path = real.home / "keys" / "worker.pem"
    path.chmod(0o644)
    try:
        said = fails(real, "keys", "permissions")
    finally:
        path.chmod(0o600)
    assert "mode 0644" in said
    assert f"chmod 600 {path}" in said


@pytest.mark.parametrize("data", [b"not json", b"[]", b'{"worker": 3}'])
def test_corrupt_trust_file(real, data):
    with replaced(real.home / "keys" / "trust.json", data, mode=0o644):
        assert "dragoman up" in fails(real, "keys", "trust")


def test_key_that_no_service_trusts(real, tmp_path):
    ServiceKey.generate("operator").save(tmp_path)
    with replaced(real.home / "keys" / "operator.pem", (tmp_path / "operator.pem").read_bytes()):
        code, found = examined(real)
    assert code == 1
    for service in ("registry", "tokenizer", "launcher", "worker", "monitor"):
        assert found[service, "token"][0]["status"] == "fail"
        assert "trust.json" in found[service, "token"][0]["advice"]
    assert found["gateway", "token"][0]["status"] == "ok"


def test_key_that_is_no_key(real):
    with replaced(real.home / "keys" / "operator.pem", b"not a key"):
        assert "operator.pem is no usable key" in fails(real, "keys", "files")


def test_dead_letters_are_told(real, parts):
    producer = Producer(parts.kafka.client_settings())
    producer.produce("dragoman.predictions", b"poison", headers={"ce_tenant": b"local"})
    assert producer.flush(10) == 0

    def is_told():
        code, found = examined(real)
        [finding] = found["monitor", "dead letters"]
        return code == 0 and finding["status"] == "warn" and "dragoman.deadletter" in finding["advice"]

    until(is_told, timeout_s=30)


def test_platform_that_was_killed(real):
    supervisor = real.json("status")["supervisor_pid"]
    identity = ProcessIdentity.of(supervisor)
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not identity.is_alive(), timeout_s=10)
    assert "dragoman up --detach" in fails(real, "platform", "running")
    real.run("down")
    real.up()
    until(lambda: examined(real)[0] == 0, timeout_s=60)


def test_http_side_that_is_away(real):
    assert "does not answer" in fails(real, "gateway", "http", "--target", f"http=127.0.0.1:{free_port()}")


def test_target_that_is_no_address_is_refused(real):
    for text in ("worker", "worker=here", "nobody=127.0.0.1:1"):
        assert real.exit_code("doctor", "--target", text) == 2


def test_named_target_takes_the_place_of_the_homes_own(real):
    code, found = examined(real, "--target", f"worker=127.0.0.1:{free_port()}")
    assert code == 1
    assert "cannot be reached" in found["worker", "health"][0]["message"]
    assert found["registry", "health"][0]["status"] == "ok"
