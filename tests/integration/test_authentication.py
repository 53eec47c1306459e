# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Every method of every service: who is not known gets nothing, and what is served is exactly what is meant to be."""

import grpc
import pytest

from dragoman.gateway.v1 import gateway_pb2
from dragoman.inference.v1 import worker_pb2
from dragoman.launcher.v1 import launcher_pb2
from dragoman.monitor.v1 import monitor_pb2
from dragoman.registry.v1 import registry_pb2
from dragoman.tokenizer.v1 import tokenizer_pb2
from dragoman_common.service_keys import KeyTokens
from inference import oip_pb2

FILES = [gateway_pb2, worker_pb2, launcher_pb2, monitor_pb2, registry_pb2, tokenizer_pb2, oip_pb2]
HEALTH = {f"/grpc.health.v1.Health/{name}" for name in ("Check", "Watch", "List")}
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
ALL_METHODS = sorted(
    f"/{service.full_name}/{method.name}"
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
SERVED = {
    "gateway": (gateway_pb2, oip_pb2),
    "worker": (worker_pb2, oip_pb2),
    "launcher": (launcher_pb2,),
    "monitor": (monitor_pb2,),
    "registry": (registry_pb2,),
    "tokenizer": (tokenizer_pb2,),
}


def methods_of(files):
    return {
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


async def answer(channel, method, body=b"", metadata=()):
    """(code, details) of a call of any kind; (OK, "") when a first message comes back."""
    call = channel.unary_stream(method)(body, metadata=metadata, timeout=5)
    try:
        async for _ in call:
            call.cancel()
            return grpc.StatusCode.OK, ""
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()
    return await call.code(), await call.details()


@pytest.mark.parametrize("service", SERVED)
async def test_every_method_without_a_token_is_unauthenticated(installation, service):
    async with grpc.aio.insecure_channel(installation.service_target(service)) as channel:
        for method in [*ALL_METHODS, REFLECTION, "/no.such.Service/Method"]:
            for body in (b"", b"\xff\xff"):
                code, _ = await answer(channel, method, body)
                assert (method, code) == (method, grpc.StatusCode.UNAUTHENTICATED)
        code, _ = await answer(channel, "/grpc.health.v1.Health/Check")
        assert code is grpc.StatusCode.OK


@pytest.mark.parametrize("service", SERVED)
async def test_methods_tested_are_the_methods_served(installation, service):
    if service == "gateway":
        token = installation.token()
    else:
        token = KeyTokens(installation.key("operator"), tenant="local").token(service)
    metadata = (("authorization", f"Bearer {token}"),)
    served = set()
    async with grpc.aio.insecure_channel(installation.service_target(service)) as channel:
        for method in ALL_METHODS:
            _, details = await answer(channel, method, metadata=metadata)
            if not details.endswith("is not served here"):
                served.add(method)
    assert served == methods_of(SERVED[service])


@pytest.mark.parametrize("service", sorted(set(SERVED) - {"gateway"}))
async def test_a_users_token_is_worth_nothing_at_an_inner_service(installation, service):
    metadata = (("authorization", f"Bearer {installation.token()}"),)
    async with grpc.aio.insecure_channel(installation.service_target(service)) as channel:
        for method in methods_of(SERVED[service]):
            code, _ = await answer(channel, method, metadata=metadata)
            assert (method, code) == (method, grpc.StatusCode.UNAUTHENTICATED)


async def test_health_and_reflection_answer_at_the_gateway(installation):
    metadata = (("authorization", f"Bearer {installation.token()}"),)
    async with grpc.aio.insecure_channel(installation.target) as channel:
        for method in sorted(HEALTH - {"/grpc.health.v1.Health/List"}):
            assert (await answer(channel, method))[0] is grpc.StatusCode.OK
        # field 7 of ServerReflectionRequest: list_services
        assert (await answer(channel, REFLECTION, b"\x3a\x00", metadata))[0] is grpc.StatusCode.OK
