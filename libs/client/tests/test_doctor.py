# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""dragoman doctor on files and fakes: what a real platform cannot be made to show on command, clocks first."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from confluent_kafka import admin
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dragoman.inference.v1 import worker_pb2
from dragoman.monitor.v1 import monitor_pb2
from dragoman_client.doctor import broker, examination
from dragoman_client.doctor.deployment import Deployment
from dragoman_client.doctor.files import check_files
from dragoman_client.doctor.finding import Finding, Findings
from dragoman_client.doctor.keys import check_keys
from dragoman_client.doctor.services import check_services
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_client.local.parts import PartsSettings
from dragoman_common.auth import Caller, bearer_token
from dragoman_common.errors import UnauthenticatedError
from dragoman_common.testing import running
from dragoman_events.ports import Message
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import PREDICTIONS


async def doctor(platform: Any) -> tuple[int, dict[tuple[str, str], dict[str, str]]]:
    """Exit code, and the last finding of each part and check."""
    result = await platform.dragoman("doctor", "--json")
    findings = json.loads(result.stdout)["findings"]
    return result.exit_code, {(found["part"], found["check"]): found for found in findings}


async def findings_of(checks: Any) -> dict[str, Finding]:
    return {finding.check: finding async for finding in checks}


class SkewedAuthenticator:
    """Judges a token's times by a clock that is ahead of the machine's, as the real ones do."""

    def __init__(self, skew_s: float) -> None:
        self._skew_s = skew_s

    def authenticate(self, metadata: Mapping[str, str | bytes]) -> Caller:
        claims = jwt.decode(bearer_token(metadata), options={"verify_signature": False})
        now_s = time.time() + self._skew_s
        if not claims["iat"] - 30 <= now_s < claims["exp"] + 30:
            raise UnauthenticatedError("the token is not valid now")
        return Caller(identity="operator", tenant="local", subject="operator")


@pytest.mark.parametrize(
    ("skew_s", "status", "says"),
    [
        (0.0, "ok", "within 2 s"),
        (20.0, "warn", "ahead of"),
        (-20.0, "warn", "behind"),
        (100.0, "fail", "ahead of"),
        (-100.0, "fail", "behind"),
        (5400.0, "fail", "ahead of"),
        (-5400.0, "fail", "behind"),
    ],
)
async def test_clock_of_a_service_is_measured_by_tokens(home: Home, skew_s: float, status: str, says: str) -> None:
    keys.ensure(home)
    async with running([], {}, name="registry", authenticator=SkewedAuthenticator(skew_s)) as server:
        deployment = Deployment(home=home, targets={"registry": server.target})
        found = [f async for f in check_services(deployment) if f.part == "registry"]
    [clock] = [finding for finding in found if finding.check == "clock"]
    assert (clock.status, says in clock.message) == (status, True), clock
    assert bool(clock.advice) == (status != "ok")
    # A clock is no key: what to do would be the wrong thing.
    assert not [f for f in found if f.check == "token" and f.status == "fail"]


@pytest.mark.parametrize(("skew_s", "status"), [(1.5, "ok"), (-1.5, "ok"), (2.5, "warn"), (-59, "warn"), (-61, "fail")])
def test_clock_is_worth_a_word_from_2_s_and_wrong_from_60_s(skew_s: float, status: str) -> None:
    assert Findings("broker").clock(skew_s).status == status


async def test_platform_on_files_is_healthy_and_what_it_lacks_is_skipped(platform: Any) -> None:
    _, found = await doctor(platform)
    assert found["registry", "health"]["status"] == "ok"
    assert found["tokenizer", "health"] == {
        "part": "tokenizer",
        "check": "health",
        "status": "skipped",
        "message": "no address; give it with --target",
        "advice": "",
    }
    for part in ("broker", "store", "books"):
        assert found[part, "reachable"]["status"] == "skipped"
    assert found["files", "store"]["status"] == "ok"
    assert not list(platform.home.store.iterdir())


@pytest.mark.parametrize(
    ("state", "reason", "status", "says"),
    [
        (worker_pb2.LOAD_STATE_READY, "", "ok", "ready for all"),
        (worker_pb2.LOAD_STATE_LOADING, "", "warn", "is being loaded"),
        (worker_pb2.LOAD_STATE_FAILED, "DATA_LOSS: weights", "fail", "is failed: DATA_LOSS: weights"),
    ],
)
async def test_alias_whose_version_is_not_ready(
    platform: Any, state: worker_pb2.LoadState, reason: str, status: str, says: str
) -> None:
    platform.worker.reports = [[platform.worker.version(state, reason, number=n) for n in (1, 2)]]
    _, found = await doctor(platform)
    assert found["models", "loaded"]["status"] == status
    assert says in found["models", "loaded"]["message"]


async def test_lag_and_lost_events_are_told(platform: Any) -> None:
    freshness = monitor_pb2.ReportFreshness(predictions_lag=900, feedback_lag=101, num_lost_events=3)
    platform.monitor.report = monitor_pb2.GetReportResponse(freshness=freshness)
    _, found = await doctor(platform)
    assert found["monitor", "lag"]["status"] == "warn"
    assert found["monitor", "lag"]["message"] == "1001 events are not counted yet"
    assert found["monitor", "lost events"]["status"] == "warn"


async def test_key_list_that_does_not_verify_or_is_not_the_newest(platform: Any, tmp_path: Path) -> None:
    key = keys.signing_key_file(platform.home)
    made = await platform.dragoman("keylist", "create", str(tmp_path / "chain.json"), "--sign-with", str(key))
    assert made.exit_code == 0
    platform.registry.key_chain = (tmp_path / "chain.json").read_bytes()
    _, found = await doctor(platform)
    assert found["registry", "key list"]["status"] == "ok"
    assert found["registry", "key list"]["message"] == "number 1, 0 days old, 1 keys, 0 revoked"
    platform.registry.key_sequence = 2
    _, found = await doctor(platform)
    assert found["registry", "key list"]["status"] == "fail"
    assert found["registry", "key list"]["advice"] == "restart the registry"
    platform.registry.key_chain = platform.registry.key_chain.replace(b"e", b"f", 3)
    code, found = await doctor(platform)
    assert (code, found["registry", "key list"]["status"]) == (1, "fail")


async def test_full_spool_and_damaged_files(home: Home) -> None:
    home.spool.mkdir()
    spool = SqliteEventLog(home.spool / "spool.db")
    spool.write(PREDICTIONS, [Message(key=b"k")] * 1_001)
    spool.close()
    home.events.write_bytes(b"SQLite format 3\0" + b"x" * 5_000)
    home.root.chmod(0o755)
    home.store.rmdir()
    found = await findings_of(check_files(Deployment(home=home)))
    assert found["spool"].status == "warn"
    assert found["spool"].message == "1001 events wait for the event log"
    assert found["event log"].status == "fail"
    assert found["permissions"].status == "fail"
    assert found["store"].status == "fail"
    assert found["books"].status == "warn"


def certificate(path: Path, days: int) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(("days", "status"), [(-1, "fail"), (10, "warn"), (100, "ok")])
async def test_certificate_that_expires(home: Home, tmp_path: Path, days: int, status: str) -> None:
    keys.ensure(home)
    secret = tmp_path / "credentials"
    secret.touch(mode=0o600)
    parts = PartsSettings(
        events_url="kafka://127.0.0.1:9",
        store_url="s3://bucket",
        s3_credentials_file=secret,
        s3_ca_file=certificate(tmp_path / "ca.pem", days),
        state_url="postgresql://user@127.0.0.1/books",
    )
    found = await findings_of(check_keys(Deployment(home=home, parts=parts)))
    assert found["certificate"].status == status
    assert found["files"].status == "ok"


@pytest.mark.parametrize(
    ("leader", "in_step", "status", "says"),
    [(1, 2, "ok", "in step"), (1, 1, "warn", "under-replicated: dragoman.jobs/0"), (-1, 0, "fail", "no leader")],
)
def test_copies_that_are_behind(
    monkeypatch: pytest.MonkeyPatch, leader: int, in_step: int, status: str, says: str
) -> None:
    part = SimpleNamespace(id=0, leader=leader, replicas=[1, 2], isrs=list(range(in_step)))
    topic = SimpleNamespace(topic="dragoman.jobs", partitions={0: part})
    cluster = SimpleNamespace(topics={"dragoman.jobs": topic}, brokers={1: None, 2: None})
    monkeypatch.setattr(admin, "AdminClient", lambda _: SimpleNamespace(list_topics=lambda **_: cluster))
    [finding] = broker._cluster({}, "")
    assert (finding.status, says in finding.message) == (status, True)


async def test_defect_of_a_check_is_a_line(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    async def breaks(_: Deployment) -> Any:
        yield Findings("services").ok("health", "before")
        raise RuntimeError("secret")

    monkeypatch.setattr(examination, "_PARTS", (("services", breaks),))
    first, second = await examination.examine(Deployment(home=home))
    assert (first.message, second.status, second.message) == ("before", "fail", "ended by RuntimeError")


async def test_service_that_is_not_serving(home: Home) -> None:
    keys.ensure(home)
    async with running([], {}, name="worker", authenticator=SkewedAuthenticator(0)) as server:
        await server.server.set_serving(is_serving=False)
        found = [f async for f in check_services(Deployment(home=home, targets={"worker": server.target}))]
    [health] = [finding for finding in found if (finding.part, finding.check) == ("worker", "health")]
    assert health.status == "fail"
    assert "NOT_SERVING" in health.message
