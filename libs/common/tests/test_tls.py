# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Real servers and channels over TLS: who connects, who does not and what they are told, and replaced certificates."""

import socket
import ssl
import warnings
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc
from dragoman_common import renewed_channel, tls_files
from dragoman_common.channel import connect
from dragoman_common.server import Service
from dragoman_common.testing import TestKeys, running, server_settings
from dragoman_common.testing_certificates import TestAuthority
from dragoman_common.tls import TlsSettings

SERVICE = pb.DESCRIPTOR.services_by_name["MonitorService"]
POLICY = {f"/{SERVICE.full_name}/{method.name}": frozenset({"gateway"}) for method in SERVICE.methods}


class Monitor(monitor_pb2_grpc.MonitorServiceServicer):
    async def GetReport(self, request, context):
        self.version = context.auth_context()["ssl_tls_version"][0].decode()
        return pb.GetReportResponse()


@pytest.fixture(scope="module")
def authority():
    return TestAuthority()


@pytest.fixture
def files(authority, tmp_path):
    return authority.files(tmp_path / "server")


@pytest.fixture
def looked_at_each_time(monkeypatch):
    monkeypatch.setattr(tls_files, "CHECK_PERIOD_S", 0.0)


def serving(tls, monitor=None, **settings):
    service = Service(register=monitor_pb2_grpc.add_MonitorServiceServicer_to_server, servicer=monitor or Monitor())
    return running([service], POLICY, name="monitor", settings=server_settings(tls=tls, **settings))


async def ask(server, tls, **options):
    async with server.channel("gateway", tls=tls, **options) as channel:
        return await monitor_pb2_grpc.MonitorServiceStub(channel).GetReport(pb.GetReportRequest(), timeout=5)


async def refusal(server, tls, **options):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(server, tls, **options)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return caught.value.details()


def served_certificate(target):
    """What a new connection is shown, as DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = target.split(":")
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as wrapped:
        return wrapped.getpeercert(binary_form=True)


def der(certificate):
    return ssl.PEM_cert_to_DER_cert(certificate.chain.decode())


async def test_call_over_tls_is_answered_and_its_version_is_1_3(files):
    monitor = Monitor()
    async with serving(files.settings(), monitor) as server:
        await ask(server, files.settings().channels())
    assert monitor.version == "TLSv1.3"


async def test_channel_that_trusts_another_authority_fails_and_says_so(files, tmp_path):
    stranger = TestAuthority("other").files(tmp_path / "other")
    async with serving(files.settings()) as server:
        assert "CERTIFICATE_VERIFY_FAILED" in await refusal(server, stranger.settings().channels())


async def test_plaintext_to_a_tls_port_fails(files):
    async with serving(files.settings()) as server:
        assert "failed to connect" in await refusal(server, None)


async def test_tls_to_a_plaintext_port_fails_and_says_so(files):
    async with serving(TlsSettings()) as server:
        assert "WRONG_VERSION_NUMBER" in await refusal(server, files.settings().channels())


async def test_certificate_must_hold_the_name_that_was_asked_for(authority, tmp_path):
    files = authority.files(tmp_path / "worker", "dragoman-worker")
    async with serving(files.settings()) as server:
        assert "Hostname Verification" in await refusal(server, files.settings().channels())
        assert "Hostname Verification" in await refusal(
            server, files.settings().channels(), server_name="dragoman-registry"
        )
        await ask(server, files.settings().channels(), server_name="dragoman-worker")


async def test_tls_1_1_is_refused(files):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with serving(files.settings()) as server:
        host, port = server.target.split(":")
        with socket.create_connection((host, int(port))) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain)


@pytest.mark.usefixtures("looked_at_each_time")
async def test_replaced_certificate_is_served_without_a_restart(authority, files):
    async with serving(files.settings()) as server:
        before = served_certificate(server.target)
        renewed = authority.issue()
        files.replace(renewed)
        assert served_certificate(server.target) == der(renewed) != before
        await ask(server, files.settings().channels())


@pytest.mark.usefixtures("looked_at_each_time")
async def test_replacement_that_is_no_pair_leaves_the_old_certificate_served(authority, files, caplog):
    async with serving(files.settings()) as server:
        before = served_certificate(server.target)
        files.key.write_bytes(authority.issue().key)
        assert served_certificate(server.target) == before
    assert [record.object for record in caplog.records if record.message == "audit: object refused"] == ["TLS_KEY_FILE"]


@pytest.mark.usefixtures("looked_at_each_time")
async def test_open_channel_uses_replaced_certificates_for_its_next_call(files):
    """Both sides go over to a new authority, and the server restarts; the channel is the same to who holds it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    channel = connect(
        listen, audience="monitor", tokens=TestKeys().tokens("gateway"), tls=files.settings(is_mutual=True).channels()
    )
    async with channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        async with serving(files.settings(is_mutual=True), listen=listen):
            await check(health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True)
        other = TestAuthority("next year's")
        files.replace(other.issue(), authorities=other.pem)
        async with serving(files.settings(is_mutual=True), listen=listen):
            await check(health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True)


@pytest.mark.usefixtures("looked_at_each_time")
async def test_stream_that_runs_outlives_the_certificates_that_it_began_with(authority, files):
    async with (
        serving(files.settings()) as server,
        server.channel("gateway", tls=files.settings().channels()) as channel,
    ):
        assert isinstance(channel, renewed_channel.RenewedChannel)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        first = channel.newest()
        for _ in range(renewed_channel.MAX_OLD):
            files.replace(authority.issue())
            await monitor_pb2_grpc.MonitorServiceStub(channel).GetReport(pb.GetReportRequest(), timeout=5)
        assert channel.newest() is not first
        await server.server.set_serving(is_serving=False)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_connection_without_a_client_certificate_is_refused_where_one_is_asked_for(files):
    async with serving(files.settings(is_mutual=True)) as server:
        await ask(server, files.settings().channels())
        assert "failed to connect" in await refusal(server, TlsSettings(tls_ca_file=files.authorities).channels())


async def test_client_certificate_of_another_authority_is_refused(files, tmp_path):
    stranger = TestAuthority("other").issue().save(tmp_path / "other", authorities=files.authorities.read_bytes())
    async with serving(files.settings(is_mutual=True)) as server:
        assert "failed to connect" in await refusal(server, stranger.settings().channels())


@pytest.mark.parametrize("is_ended", [False, True])
async def test_client_certificate_that_has_ended_is_refused(authority, files, is_ended):
    ends = datetime.now(UTC) + timedelta(hours=-1 if is_ended else 1)
    own = authority.issue(identity="gateway", ends=ends)
    async with serving(files.settings(is_mutual=True)) as server:
        credentials = grpc.ssl_channel_credentials(authority.pem, own.key, own.chain)
        async with grpc.aio.secure_channel(server.target, credentials) as channel:
            call = monitor_pb2_grpc.MonitorServiceStub(channel).GetReport(pb.GetReportRequest(), timeout=5)
            assert await call.code() is (grpc.StatusCode.UNAVAILABLE if is_ended else grpc.StatusCode.OK)
