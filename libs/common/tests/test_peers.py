# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Callers by certificate, on real connections: whose name counts, what it may call, and what a token changes."""

from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc
from dragoman.registry.v1 import registry_pb2, registry_pb2_grpc
from dragoman_common import auth_meter
from dragoman_common.auth import current_caller
from dragoman_common.server import Service
from dragoman_common.testing import TestKeys, running, server_settings
from dragoman_common.testing_certificates import TestAuthority

GET_REPORT = "/dragoman.monitor.v1.MonitorService/GetReport"
GET_USAGE = "/dragoman.monitor.v1.MonitorService/GetUsage"
PUBLISH = "/dragoman.registry.v1.RegistryService/PublishVersion"
SERVICES = (
    pb.DESCRIPTOR.services_by_name["MonitorService"],
    registry_pb2.DESCRIPTOR.services_by_name["RegistryService"],
)
POLICY = {f"/{each.full_name}/{method.name}": frozenset({"operator"}) for each in SERVICES for method in each.methods}
POLICY |= {GET_REPORT: frozenset({"keda", "gateway", "operator"}), PUBLISH: frozenset({"worker"})}


class Monitor(monitor_pb2_grpc.MonitorServiceServicer):
    def __init__(self):
        self.seen = []

    async def GetReport(self, request, context):
        self.seen.append(current_caller())
        return pb.GetReportResponse()


class Registry(registry_pb2_grpc.RegistryServiceServicer):
    def __init__(self):
        self.num_read = 0

    async def PublishVersion(self, request_iterator, context):
        async for _ in request_iterator:
            self.num_read += 1
        return registry_pb2.PublishVersionResponse()


@pytest.fixture(scope="module")
def authority():
    return TestAuthority()


@pytest.fixture
def files(authority, tmp_path):
    return authority.files(tmp_path / "server")


@pytest.fixture
def failures(monkeypatch):
    """The reasons that were counted."""
    counted = []

    class Counter:
        def add(self, amount, attributes):
            counted.extend([attributes["reason"]] * amount)

    monkeypatch.setattr(auth_meter, "_failures", Counter())
    return counted


@dataclass(frozen=True, kw_only=True)
class Served:
    target: str
    keys: TestKeys
    monitor: Monitor
    registry: Registry


@asynccontextmanager
async def serving(files, *, identities=(), is_mutual=True):
    monitor, registry = Monitor(), Registry()
    services = [
        Service(register=monitor_pb2_grpc.add_MonitorServiceServicer_to_server, servicer=monitor),
        Service(register=registry_pb2_grpc.add_RegistryServiceServicer_to_server, servicer=registry),
    ]
    tls = files.settings(is_mutual=is_mutual, identities=identities)
    async with running(services, POLICY, name="monitor", settings=server_settings(tls=tls)) as server:
        yield Served(target=server.target, keys=server.keys, monitor=monitor, registry=registry)


def credentials(certificate, authority):
    return grpc.ssl_channel_credentials(authority.pem, certificate.key, certificate.chain)


async def raw_call(server, certificate, authority, *, method=GET_REPORT, data=b"", metadata=()):
    """A call as KEDA makes it: with a certificate, and what metadata the test says."""
    async with grpc.aio.secure_channel(server.target, credentials(certificate, authority)) as channel:
        return await channel.unary_unary(method)(data, metadata=metadata, timeout=5)


async def refusal(*arguments, **named):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw_call(*arguments, **named)
    return caught.value.code(), caught.value.details()


def bearer(server, identity, **named):
    return (("authorization", f"Bearer {server.keys.tokens(identity, **named).token('monitor')}"),)


async def test_certificate_that_names_an_identity_stands_for_a_token(authority, files):
    async with serving(files) as server:
        await raw_call(server, authority.issue(identity="keda"), authority)
        (caller,) = server.monitor.seen
    assert (caller.identity, caller.tenant, caller.subject) == ("keda", "", "keda")


async def test_tenant_is_believed_from_a_platform_certificate_and_not_from_kedas(authority, files):
    metadata = (("dragoman-tenant", "acme"), ("dragoman-subject", "ada"))
    async with serving(files) as server:
        for identity in ("keda", "gateway"):
            await raw_call(server, authority.issue(identity=identity), authority, metadata=metadata)
        assert [(c.identity, c.tenant, c.subject) for c in server.monitor.seen] == [
            ("keda", "", "keda"),
            ("gateway", "acme", "ada"),
        ]


async def test_dns_name_counts_only_where_a_setting_says_whose_it_is(authority, files):
    certificate = authority.issue("keda-operator.keda.svc")
    async with serving(files) as server:
        assert (await refusal(server, certificate, authority))[0] is grpc.StatusCode.UNAUTHENTICATED
    async with serving(files, identities=["KEDA-operator.keda.svc=keda"]) as server:
        await raw_call(server, certificate, authority)
        assert server.monitor.seen[0].identity == "keda"


async def test_identity_may_call_only_what_its_policy_row_says(authority, files, failures):
    async with serving(files) as server:
        code, text = await refusal(server, authority.issue(identity="keda"), authority, method=GET_USAGE)
    assert (code, text) == (grpc.StatusCode.PERMISSION_DENIED, f"keda may not call {GET_USAGE}")
    assert failures == ["not_allowed"]


@pytest.mark.parametrize("identity", ["", "user", "operator", "trainer", "nobody"])
async def test_certificate_of_nobody_who_may_call_by_one_is_unauthenticated(authority, files, identity, failures):
    async with serving(files) as server:
        code, _ = await refusal(server, authority.issue(identity=identity), authority)
        assert server.monitor.seen == []
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert failures == ["certificate" if identity else "no_credential"]


async def test_certificate_that_names_two_identities_is_unauthenticated(authority, files, failures):
    certificate = authority.issue(identity="keda", uris=["dragoman:identity/gateway"])
    async with serving(files) as server:
        code, text = await refusal(server, certificate, authority)
    assert (code, text) == (grpc.StatusCode.UNAUTHENTICATED, "the client certificate names more than one identity")
    assert failures == ["certificate"]


async def test_token_and_certificate_that_agree_make_the_tokens_caller(authority, files):
    async with serving(files) as server:
        metadata = (*bearer(server, "operator", tenant="acme"),)
        await raw_call(server, authority.issue(identity="operator"), authority, metadata=metadata)
        assert (server.monitor.seen[0].identity, server.monitor.seen[0].tenant) == ("operator", "acme")


async def test_token_and_certificate_that_disagree_are_unauthenticated(authority, files, failures):
    async with serving(files) as server:
        certificate, metadata = authority.issue(identity="keda"), bearer(server, "gateway")
        code, text = await refusal(server, certificate, authority, metadata=metadata)
        assert server.monitor.seen == []
    assert (code, text) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "the token and the client certificate name different identities",
    )
    assert failures == ["mismatch"]


async def test_token_counts_beside_a_certificate_that_names_nobody(authority, files):
    async with serving(files) as server:
        await raw_call(server, authority.issue(), authority, metadata=bearer(server, "gateway"))
        assert server.monitor.seen[0].identity == "gateway"


async def test_bad_token_is_not_made_good_by_a_certificate(authority, files, failures):
    async with serving(files) as server:
        metadata = (("authorization", "Bearer nonsense"),)
        assert (await refusal(server, authority.issue(identity="keda"), authority, metadata=metadata))[0] is (
            grpc.StatusCode.UNAUTHENTICATED
        )
    assert failures == ["invalid_token"]


async def test_certificate_counts_for_nothing_where_none_is_asked_for(authority, files):
    async with serving(files, is_mutual=False) as server:
        code, _ = await refusal(server, authority.issue(identity="keda"), authority)
    assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_certificate_is_looked_at_before_the_request_is_parsed(authority, files):
    async with serving(files) as server:
        code, _ = await refusal(server, authority.issue(), authority, data=b"\xff\xff")
        assert code is grpc.StatusCode.UNAUTHENTICATED
        code, _ = await refusal(server, authority.issue(identity="keda"), authority, data=b"\xff\xff")
        assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_caller_that_never_sends_its_request_is_refused_all_the_same(authority, files):
    async with (
        serving(files) as server,
        grpc.aio.secure_channel(server.target, credentials(authority.issue(), authority)) as channel,
    ):
        silent = channel.stream_unary(GET_REPORT)(timeout=5)
        assert await silent.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_method_that_is_not_served_is_named_only_to_who_is_known(authority, files):
    method = "/dragoman.monitor.v1.MonitorService/DropAll"
    async with serving(files) as server:
        assert (await refusal(server, authority.issue(), authority, method=method))[0] is (
            grpc.StatusCode.UNAUTHENTICATED
        )
        assert (await refusal(server, authority.issue(identity="keda"), authority, method=method))[0] is (
            grpc.StatusCode.UNIMPLEMENTED
        )


async def test_stream_by_certificate_is_read_or_refused_by_its_identity(authority, files):
    async def pieces():
        for _ in range(3):
            yield b""

    async with serving(files) as server:
        codes = []
        for identity in ("worker", "keda", ""):
            own = credentials(authority.issue(identity=identity), authority)
            async with grpc.aio.secure_channel(server.target, own) as channel:
                codes.append(await channel.stream_unary(PUBLISH)(pieces(), timeout=5).code())
        assert server.registry.num_read == 3
    assert codes == [grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED]


@pytest.mark.parametrize(
    ("token", "reason"), [("", "no_credential"), ("x.y.z", "invalid_token"), ("stranger", "unknown_key")]
)
async def test_failures_are_counted_by_reason(authority, files, failures, token, reason):
    if token == "stranger":
        token = TestKeys().tokens("gateway").token("monitor")
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with serving(files, is_mutual=False) as server:
        server.keys.trust._keys.pop("gateway")
        await refusal(server, authority.issue(), authority, metadata=metadata)
    assert failures == [reason]
