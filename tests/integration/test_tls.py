# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A platform that speaks only TLS, each service with a certificate of its own; the tokenizer asks for its callers'."""

import json
import os
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from dragoman.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc
from dragoman_client.client import Client
from dragoman_client.local.services import SERVICES
from dragoman_common.errors import UnavailableError
from dragoman_common.testing_certificates import TestAuthority
from tests.integration import corpus
from tests.integration.installation import CommandFailedError, Installation, free_port, until

ROOT = Path(__file__).parents[2]
RECIPES = Path(__file__).parent / "recipes"
ENCODE = "/dragoman.tokenizer.v1.TokenizerService/Encode"


@pytest.fixture(scope="module")
def authority():
    return TestAuthority()


@pytest.fixture(scope="module")
def certificates(authority, tmp_path_factory):
    """Files for each service, and for the supervisor."""
    root = tmp_path_factory.mktemp("certificates")
    files = {name: authority.files(root / name, identity=name) for name in SERVICES}
    return files | {"supervisor": authority.files(root / "supervisor")}


def told(name, files):
    """A service's variables."""
    settings = {
        "TLS_CERT_FILE": files.chain,
        "TLS_KEY_FILE": files.key,
        "TLS_CA_FILE": files.authorities,
        "HEALTH_LISTEN": "127.0.0.1:0",
        "METRICS_LISTEN": "127.0.0.1:0",
    }
    if name == "tokenizer":
        settings["TLS_CLIENT_CA_FILE"] = files.authorities
    return {f"DRAGOMAN_{name.upper()}_{key}": str(value) for key, value in settings.items()}


@pytest.fixture(scope="module")
def platform(certificates, tmp_path_factory):
    root = tmp_path_factory.mktemp("platform")
    authorities = certificates["gateway"].authorities
    made = Installation(
        home=root / "home",
        cache=root / "cache",
        grpc_port=free_port(),
        http_port=free_port(),
        variables={"DRAGOMAN_CA": str(authorities)},
    )
    train, test = corpus.write(root)
    made.run("data", "add", "topics", str(train), str(test))
    environ = dict(made.environ) | {"PYTHONPATH": str(ROOT)}
    for name in SERVICES:
        environ |= told(name, certificates[name])
    command = [
        *(sys.executable, "-m", "tests.integration.tls_supervisor"),
        str(certificates["supervisor"].chain.parent.parent),
        *(str(made.home), str(made.grpc_port), str(made.http_port)),
    ]
    log = root / "supervisor.log"
    with log.open("wb") as output:
        supervisor = subprocess.Popen(command, env=environ, stdout=output, stderr=output, cwd=root)
    try:
        until(lambda: supervisor.poll() is not None or is_ready(made), timeout_s=120)
        assert supervisor.poll() is None, log.read_text()[-2000:]
        yield made
    finally:
        made.exit_code("down")
        supervisor.wait(60)


def is_ready(installation):
    try:
        return json.loads((installation.home / "run" / "state.json").read_bytes())["phase"] == "ready"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def trained(platform):
    """The model `topics`, version 1, trained by a job that reports and publishes over TLS."""
    version = platform.train(RECIPES / "linear.yaml", "topics")
    platform.run("alias", "topics", "prod", str(version), "--reason", "test")
    return platform


def ready(installation, name):
    return json.loads((installation.home / "run" / f"{name}.ready").read_bytes())


def test_prediction_goes_through_and_is_counted(trained):
    row = corpus.rows(4, seed=3)[0]
    answer = trained.json("predict", "topics", row["text"])
    assert answer["label"] == row["label"]
    until(lambda: trained.json("report", "topics")["versions"], timeout_s=30)


def test_rest_answers_over_https_with_the_same_certificate(trained, authority):
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["grain1 grain2 grain3"]}]}
    request = urllib.request.Request(
        f"https://127.0.0.1:{trained.http_port}/v2/models/topics/infer",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {trained.token()}", "Content-Type": "application/json"},
    )
    context = ssl.create_default_context(cadata=authority.pem.decode())
    with urllib.request.urlopen(request, context=context, timeout=30) as reply:
        outputs = {output["name"]: output["data"] for output in json.load(reply)["outputs"]}
    assert outputs["label"] == ["grain"]


@pytest.mark.parametrize("service", SERVICES)
async def test_no_service_answers_in_plaintext(platform, service):
    async with grpc.aio.insecure_channel(platform.service_target(service)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_client_in_plaintext_is_told_what_is_wrong(platform):
    with Client(platform.target, "token") as client, pytest.raises(UnavailableError, match="it may speak TLS only"):
        client.models()


def test_client_of_another_authority_is_told_what_is_wrong(platform, tmp_path):
    stranger = tmp_path / "other.pem"
    stranger.write_bytes(TestAuthority("other").pem)
    with pytest.raises(CommandFailedError) as caught:
        platform.run("--ca", str(stranger), "predict", "topics", "text")
    assert "of no authority that this client trusts" in caught.value.stderr


async def encode(platform, authority, certificate):
    """What KEDA's kind of caller gets: a certificate, and no token."""
    credentials = grpc.ssl_channel_credentials(authority.pem, certificate.key, certificate.chain)
    async with grpc.aio.secure_channel(platform.service_target("tokenizer"), credentials) as channel:
        stub = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
        try:
            await stub.Encode(tokenizer_pb2.EncodeRequest(), metadata=(("dragoman-tenant", "local"),), timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()
    return grpc.StatusCode.OK, ""


async def test_certificate_may_call_what_its_identity_may_and_nothing_else(platform, authority):
    code, text = await encode(platform, authority, authority.issue(identity="worker"))
    assert (code, text) == (grpc.StatusCode.PERMISSION_DENIED, f"worker may not call {ENCODE}")
    code, _ = await encode(platform, authority, authority.issue())
    assert code is grpc.StatusCode.UNAUTHENTICATED
    code, _ = await encode(platform, authority, authority.issue(identity="gateway"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT, "let in, and told what its request lacks"


async def test_connection_without_a_certificate_ends_where_one_is_asked_for(platform, authority):
    credentials = grpc.ssl_channel_credentials(authority.pem)
    async with grpc.aio.secure_channel(platform.service_target("tokenizer"), credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("service", SERVICES)
async def test_probe_in_the_clear_is_told_health(trained, service):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ready(trained, service)['health_port']}") as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("service", SERVICES)
def test_prometheus_reads_the_documented_metrics_and_labels(trained, service):
    address = f"http://127.0.0.1:{ready(trained, service)['metrics_port']}/metrics"
    with urllib.request.urlopen(address, timeout=30) as reply:
        families = list(text_string_to_metric_families(reply.read().decode()))
    documented = {row[0].strip(" `"): set(row[3].replace(" ", "").split(",")) for row in documented_rows()}
    told = set()
    for family in families:
        if family.name.startswith(("process_", "target_info")):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        told.add(name)
        assert {label for sample in family.samples for label in sample.labels} - {"le"} <= documented[name]
    assert {"dragoman_tls_certificate_end_seconds", "rpc_server_duration_milliseconds"} <= told
    assert sum(len(family.samples) for family in families) < 1_000


def documented_rows():
    """The table rows of docs/metrics.md that name a meter."""
    lines = (ROOT / "docs" / "metrics.md").read_text().splitlines()
    return [line.strip("|").split("|") for line in lines if line.startswith("| `")]


def shown_by(port, authority):
    context = ssl.create_default_context(cadata=authority.pem.decode())
    with (
        ssl.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        return tls.getpeercert(binary_form=True)


def test_replaced_certificates_are_used_without_a_restart(trained, authority, certificates):
    before = {name: trained.service(name)["pid"] for name in SERVICES}
    renewed = {name: authority.issue(identity=name) for name in SERVICES}
    for name, certificate in renewed.items():
        certificates[name].replace(certificate)
    for port in (trained.grpc_port, trained.http_port):
        expected = ssl.PEM_cert_to_DER_cert(renewed["gateway"].chain.decode())
        until(lambda port=port, expected=expected: shown_by(port, authority) == expected, timeout_s=30)
    assert trained.json("predict", "topics", "ship1 ship2 ship3 ship4")["label"] == "ship"
    assert {name: trained.service(name)["pid"] for name in SERVICES} == before


def test_replacement_that_is_no_pair_keeps_the_old_one_and_is_audited(trained, authority, certificates):
    files = certificates["gateway"]
    good, shown = files.key.read_bytes(), shown_by(trained.grpc_port, authority)
    files.key.write_bytes(authority.issue().key)
    try:
        log = Path(str(trained.service("gateway")["log"]))
        until(lambda: shown_by(trained.grpc_port, authority) == shown and audited(log), timeout_s=30)
        assert shown_by(trained.http_port, authority) == shown
        trained.json("predict", "topics", "ship1 ship2 ship3 ship4")
    finally:
        files.key.write_bytes(good)


def audited(log):
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return any(line["message"] == "audit: object refused" and line["object"] == "TLS_KEY_FILE" for line in lines)


def test_doctor_says_of_each_service_when_its_certificate_ends(trained):
    try:
        document = trained.json("doctor")
    except CommandFailedError as error:
        document = json.loads(error.stdout)
    found = {each["part"]: each for each in document["findings"] if each["check"] == "certificate"}
    # The tokenizer asks for a certificate, and the command has none.
    assert {name: found[name]["status"] for name in SERVICES if name != "tokenizer"} == dict.fromkeys(
        set(SERVICES) - {"tokenizer"}, "warn"
    )


def test_service_with_a_bad_certificate_does_not_start(platform, certificates, tmp_path):
    """The error is the process's last word: which setting, and why."""
    environ = os.environ | told("tokenizer", certificates["tokenizer"])
    key = tmp_path / "open.key"
    key.write_bytes(certificates["tokenizer"].key.read_bytes())
    key.chmod(0o644)
    needed = {"KEY_FILE": "k", "TRUST_FILE": "t", "REGISTRY_TARGET": "r:1", "REGISTRY_KEYS_FILE": "p"}
    environ |= {f"DRAGOMAN_TOKENIZER_{name}": value for name, value in needed.items()}
    environ["DRAGOMAN_TOKENIZER_TLS_KEY_FILE"] = str(key)
    command = [sys.executable, "-m", "dragoman_tokenizer"]
    completed = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert completed.returncode == 2
    assert "TLS_KEY_FILE: " in completed.stderr
    assert "can be read by others (mode 0644)" in completed.stderr
