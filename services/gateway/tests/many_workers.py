# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Several fake workers on one port of several loopback addresses, as a headless name has them, and that name."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman_common.server import ServerSettings, Service
from dragoman_common.testing import running
from inference import oip_pb2, oip_pb2_grpc


class Names:
    """Stands in for the resolver: a test says which addresses the name has."""

    def __init__(self):
        self._followers = []
        self._addresses = ()

    async def follow(self, endpoint, take):
        if endpoint.is_fixed:
            take((endpoint.at(endpoint.host),))
            return
        self._followers.append(take)
        take(self._addresses)
        await asyncio.Event().wait()

    def say(self, *addresses):
        self._addresses = tuple(sorted(addresses))
        for take in self._followers:
            take(self._addresses)

    def close(self):
        pass


def policy_of(*modules, callers=frozenset({"gateway"})):
    return {
        f"/{service.full_name}/{method.name}": callers
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


@asynccontextmanager
async def worker_running(keys, worker, listen):
    """Serve one worker; gives its port."""
    services = [
        Service(register=worker_pb2_grpc.add_WorkerServiceServicer_to_server, servicer=worker),
        Service(register=oip_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, servicer=worker),
    ]
    policy = policy_of(worker_pb2, oip_pb2)
    for service, module in getattr(worker, "more_services", ()):
        services.append(service)
        policy |= policy_of(module)
    settings = ServerSettings(key_file=Path("unused"), trust_file=Path("unused"), drain_grace_ms=100, listen=listen)
    async with running(services, policy, name="worker", keys=keys, settings=settings) as server:
        # running() names 127.0.0.1, whatever address was asked for.
        yield int(server.target.rpartition(":")[2])
