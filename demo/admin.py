# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Raw calls of the operator, by the generated stubs: a promotion as it is answered on the wire, and an evaluation."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc

from dragoman.registry.v1 import registry_pb2, registry_pb2_grpc
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_client.local.state import read_state
from dragoman_client.local.user_tokens import LOCAL_TENANT
from dragoman_common.channel import connect
from dragoman_common.service_keys import KeyTokens, ServiceKey

T = TypeVar("T")
RegistryCall = Callable[["registry_pb2_grpc.RegistryServiceAsyncStub"], Awaitable[T]]


async def with_registry(
    home_folder: Path, call: Callable[["registry_pb2_grpc.RegistryServiceAsyncStub"], Awaitable[T]]
) -> T:
    """Make a call to the running registry as the operator."""
    home = Home(home_folder)
    state = read_state(home)
    if state is None:
        raise RuntimeError("the platform is not running")
    tokens = KeyTokens(ServiceKey.load(keys.key_file(home, "operator")), tenant=LOCAL_TENANT)
    async with connect(state.target("registry"), audience="registry", tokens=tokens) as channel:
        return await call(registry_pb2_grpc.RegistryServiceStub(channel))


async def set_alias_code(home_folder: Path, model: str, alias: str, version: int) -> tuple[str, str]:
    """The status code and text that the registry answers a promotion with."""

    async def call(registry: "registry_pb2_grpc.RegistryServiceAsyncStub") -> tuple[str, str]:
        request = registry_pb2.SetAliasRequest(model=model, alias=alias, version=version, reason="the demo tries it on")
        try:
            await registry.SetAlias(request)
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""

    return await with_registry(home_folder, call)


async def evaluation_of(home_folder: Path, model: str, version: int, dataset: str) -> dict[str, Any]:
    """What the version measured offline on the data set's test part, from its evaluation.json in the registry."""

    async def call(registry: "registry_pb2_grpc.RegistryServiceAsyncStub") -> bytes:
        request = registry_pb2.DownloadFileRequest(model=model, number=version, path="evaluation.json")
        return b"".join([part.data async for part in registry.DownloadFile(request)])

    document = json.loads(await with_registry(home_folder, call))
    [found] = [item for item in document["datasets"] if item["name"] == dataset and item["split"] == "test"]
    evaluation: dict[str, Any] = found
    return evaluation
