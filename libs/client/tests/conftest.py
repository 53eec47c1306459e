# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A platform that is running as far as the command can tell: a home with keys, and fakes behind its state file."""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dragoman.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman.launcher.v1 import launcher_pb2, launcher_pb2_grpc
from dragoman.monitor.v1 import monitor_pb2, monitor_pb2_grpc
from dragoman.registry.v1 import data_pb2, data_pb2_grpc, registry_pb2, registry_pb2_grpc
from dragoman_client.cli.app import app
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_client.local.process import ProcessIdentity
from dragoman_client.local.state import PlatformState, ServiceState, supervision
from dragoman_common.server import Service
from dragoman_common.service_keys import ServiceTokenAuthenticator, TrustStore
from dragoman_common.testing import running


def _load(name: str) -> ModuleType:
    # importlib mode puts no test folder on the path, and other members have a fakes.py of their own.
    spec = importlib.util.spec_from_file_location(f"client_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


fakes = _load("fakes")


@dataclass(kw_only=True)
class FakePlatform:
    home: Home
    gateway: Any
    registry: Any
    launcher: Any
    monitor: Any
    worker: Any
    data: Any
    state: PlatformState

    async def dragoman(self, *arguments: str, stdin: str | bytes = "", **variables: str) -> Result:
        """The command's result; it runs in a thread, because it has an event loop of its own."""
        environ = {"DRAGOMAN_HOME": str(self.home.root), "USER": "ada", "COLUMNS": "200", **variables}
        return await asyncio.to_thread(CliRunner().invoke, app, list(arguments), input=stdin, env=environ)

    async def json(self, *arguments: str, stdin: str = "", **variables: str) -> list[dict[str, Any]]:
        """The documents that a command prints, one a line; it must exit with 0."""
        result = await self.dragoman(*arguments, "--json", stdin=stdin, **variables)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]


def _policy(descriptor: Any, identity: str) -> dict[str, frozenset[str]]:
    [service] = descriptor.services_by_name.values()
    return {f"/{service.full_name}/{method.name}": frozenset({identity}) for method in service.methods}


class _Served:
    """Answers UNIMPLEMENTED for what a fake lacks, as generated base classes do."""

    def __init__(self, fake: object, base: type) -> None:
        self._fake, self._base = fake, base()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fake, name, None) or getattr(self._base, name)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


@pytest.fixture
async def platform(home: Home) -> AsyncIterator[FakePlatform]:
    keys.ensure(home)
    trust = TrustStore.load(keys.trust_file(home))
    fake = {
        "gateway": (fakes.Gateway(), gateway_pb2, gateway_pb2_grpc, "Gateway"),
        "registry": (fakes.Registry(), registry_pb2, registry_pb2_grpc, "Registry"),
        "launcher": (fakes.Launcher(), launcher_pb2, launcher_pb2_grpc, "Launcher"),
        "monitor": (fakes.Monitor(), monitor_pb2, monitor_pb2_grpc, "Monitor"),
        "worker": (fakes.Worker(), worker_pb2, worker_pb2_grpc, "Worker"),
    }
    own = ProcessIdentity.of(os.getpid())
    assert own is not None
    data = fakes.Data()
    data_service = Service(
        register=data_pb2_grpc.add_DataServiceServicer_to_server,
        servicer=_Served(data, data_pb2_grpc.DataServiceServicer),
    )
    async with AsyncExitStack() as stack:
        services = []
        for name, (servicer, pb, pb_grpc, stem) in fake.items():
            served = _Served(servicer, getattr(pb_grpc, f"{stem}ServiceServicer"))
            is_gateway = name == "gateway"
            server = await stack.enter_async_context(
                running(
                    [
                        Service(register=getattr(pb_grpc, f"add_{stem}ServiceServicer_to_server"), servicer=served),
                        *([data_service] if name == "registry" else []),
                    ],
                    _policy(pb.DESCRIPTOR, "user" if is_gateway else "operator")
                    | (_policy(data_pb2.DESCRIPTOR, "operator") if name == "registry" else {}),
                    name=name,
                    authenticator=fakes.UserAuthenticator(keys.user_jwks_file(home).read_text())
                    if is_gateway
                    else ServiceTokenAuthenticator(trust, audience=name),
                )
            )
            port = int(server.target.rpartition(":")[2])
            services.append(ServiceState(name=name, state="ready", pid=1, port=port))
        state = PlatformState(
            run_id="0" * 32,
            phase="ready",
            supervisor_pid=own.pid,
            supervisor_start_mark=own.start_mark,
            grpc_target=f"127.0.0.1:{services[0].port}",
            http_address="127.0.0.1:1",
            services=services,
        )
        state.write(home.state_file)
        stack.enter_context(supervision(home))
        yield FakePlatform(
            home=home,
            gateway=fake["gateway"][0],
            registry=fake["registry"][0],
            launcher=fake["launcher"][0],
            monitor=fake["monitor"][0],
            worker=fake["worker"][0],
            data=data,
            state=state,
        )
