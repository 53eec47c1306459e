# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The SDK, the command and the doctor against servers with certificates: who is believed, and what is said if not."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman.gateway.v1 import gateway_pb2_grpc
from dragoman_client import AsyncClient
from dragoman_client.cli.session import Session
from dragoman_client.connection import Endpoint
from dragoman_client.doctor.certificate import check_certificate
from dragoman_client.doctor.deployment import Deployment, deployment_of
from dragoman_client.doctor.services import check_services
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_common.auth import Caller
from dragoman_common.errors import InvalidArgumentError, UnavailableError
from dragoman_common.server import Service
from dragoman_common.testing import Running, running, server_settings
from dragoman_common.testing_certificates import CertificateFiles, TestAuthority
from dragoman_common.tls import TlsSettings

_SERVICE = pb.DESCRIPTOR.services_by_name["GatewayService"]
_POLICY = {f"/{_SERVICE.full_name}/{method.name}": frozenset({"user"}) for method in _SERVICE.methods}


class Gateway(gateway_pb2_grpc.GatewayServiceServicer):
    async def ListModels(self, _request: pb.ListModelsRequest, _: object) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=[pb.ServedModel(model="r8")])


class Everybody:
    def authenticate(self, metadata: Mapping[str, str | bytes]) -> Caller:
        return Caller(identity="user", tenant="local", subject="ada")


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority()


@pytest.fixture
def files(authority: TestAuthority, tmp_path: Path) -> CertificateFiles:
    return authority.files(tmp_path / "tls")


@asynccontextmanager
async def serving(tls: TlsSettings, name: str = "gateway") -> AsyncIterator[Running]:
    service = Service(register=gateway_pb2_grpc.add_GatewayServiceServicer_to_server, servicer=Gateway())
    settings = server_settings(tls=tls)
    async with running([service], _POLICY, name=name, authenticator=Everybody(), settings=settings) as server:
        yield server


async def models(target: str, ca_file: Path | None) -> list[str]:
    async with AsyncClient(target, "token", tls_ca_file=ca_file) as client:
        return [served.model for served in await client.models()]


async def test_sdk_asks_over_tls_with_or_without_a_scheme(files: CertificateFiles) -> None:
    async with serving(files.settings()) as server:
        assert await models(server.target, files.authorities) == ["r8"]
        assert await models(f"https://{server.target}", files.authorities) == ["r8"]


@pytest.mark.parametrize(
    ("target", "address", "is_plain"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000", True),
        ("https://127.0.0.1:9000", "127.0.0.1:9000", False),
        ("https://models.example", "models.example:443", False),
        ("https://models.example/", "models.example:443", False),
        ("models.example:9000", "models.example:9000", False),
    ],
)
def test_target_is_plaintext_only_on_this_machine_and_without_https(target: str, address: str, is_plain: bool) -> None:
    endpoint = Endpoint(target, "token")
    assert (endpoint.address, endpoint.credentials() is None) == (address, is_plain)


@pytest.mark.parametrize("target", ["http://127.0.0.1:8080", "grpc://gateway:9000", "dns:///gateway:9000"])
def test_other_schemes_are_refused(target: str) -> None:
    with pytest.raises(InvalidArgumentError, match="give host:port, or https://host:port"):
        Endpoint(target, "token")


async def test_sdk_says_why_it_does_not_believe_a_certificate(
    authority: TestAuthority, files: CertificateFiles, tmp_path: Path
) -> None:
    stranger = tmp_path / "other.pem"
    stranger.write_bytes(TestAuthority("other").pem)
    elsewhere = authority.files(tmp_path / "elsewhere", "gateway.example")
    async with serving(files.settings()) as server, serving(elsewhere.settings()) as other:
        with pytest.raises(UnavailableError, match=r"of no authority that this client trusts: name it \(--ca FILE"):
            await models(server.target, stranger)
        with pytest.raises(UnavailableError, match="holds another name"):
            await models(other.target, files.authorities)


async def test_sdk_says_that_one_side_speaks_plaintext(files: CertificateFiles) -> None:
    async with serving(files.settings()) as server:
        with pytest.raises(UnavailableError, match="it may speak TLS only"):
            await models(server.target, None)
    async with serving(TlsSettings()) as server:
        with pytest.raises(UnavailableError, match="speaks plaintext, not TLS"):
            await models(server.target, files.authorities)


def test_file_of_no_certificates_is_refused_by_the_options_name(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(InvalidArgumentError, match="--ca: the file holds no certificate"):
        assert Session(home=Home(tmp_path), ca_file=empty, environ={}).tls
    with pytest.raises(InvalidArgumentError, match=r"--ca: .*none\.pem cannot be read"):
        deployment_of(Home(tmp_path), None, targets={}, parts=None, ca_file=tmp_path / "none.pem")
    with pytest.raises(InvalidArgumentError, match=r"none.pem cannot be read: No such file"):
        Endpoint("a:1", "token", tmp_path / "none.pem").credentials()


@pytest.mark.parametrize(("days", "status"), [(13, "warn"), (15, "ok")])
async def test_doctor_says_when_a_certificate_ends_soon(
    authority: TestAuthority, tmp_path: Path, days: int, status: str
) -> None:
    ends = datetime.now(UTC) + timedelta(days=days, minutes=1)
    files = authority.issue(ends=ends).save(tmp_path / "tls", authorities=authority.pem)
    found = await findings(files, files.authorities)
    assert found["certificate"].status == status
    assert f"ends on {ends:%Y-%m-%d %H:%M} UTC" in found["certificate"].message
    assert found["health"].status == "ok"


async def test_doctor_says_that_a_certificate_has_ended(
    authority: TestAuthority, files: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server began with it while it held; the doctor comes later."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=1, minutes=1)

    async with serving(files.settings()) as server:
        monkeypatch.setattr("dragoman_client.doctor.certificate.datetime", Later)
        found = await judged(server.target, files.authorities)
    assert (found.status, found.message.split(" on ")[0]) == ("fail", "ended")


async def test_doctor_says_that_a_certificate_is_not_believed(files: CertificateFiles, tmp_path: Path) -> None:
    stranger = tmp_path / "other.pem"
    stranger.write_bytes(TestAuthority("other").pem)
    found = await findings(files, stranger)
    assert (found["health"].status, found["certificate"].status) == ("fail", "fail")
    assert found["certificate"].message.startswith("is not believed: unable to get local issuer certificate")


async def test_doctor_without_an_authority_says_that_the_service_speaks_tls(files: CertificateFiles) -> None:
    found = await findings(files, None)
    assert found["certificate"].message.endswith("speaks TLS, and was asked in plaintext")
    assert found["certificate"].advice == "name whom to trust: dragoman --ca FILE"


async def test_doctor_says_that_a_service_speaks_plaintext_where_tls_is_asked_for(files: CertificateFiles) -> None:
    async with serving(TlsSettings(), "worker") as server:
        found = await judged(server.target, files.authorities)
    assert found.message.endswith("speaks plaintext, and --ca asks for TLS")


async def findings(files: CertificateFiles, ca_file: Path | None) -> dict[str, Any]:
    async with serving(files.settings(), "worker") as server:
        home = Home(files.chain.parent.parent / "home")
        home.create()
        keys.ensure(home)
        deployment = replace(Deployment(home=home, targets={"worker": server.target}), ca_file=ca_file)
        return {each.check: each async for each in check_services(deployment) if each.part == "worker"}


async def judged(target: str, ca_file: Path) -> Any:
    return await asyncio.to_thread(check_certificate, "worker", target, ca_file)
