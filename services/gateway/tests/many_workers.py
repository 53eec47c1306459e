# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Several fake workers on one port of several loopback addresses, as a headless name has them."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman_common.server import ServerSettings, Service
from dragoman_common.testing import running
from inference import oip_pb2, oip_pb2_grpc
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport
from xds.service.orca.v3 import orca_pb2, orca_pb2_grpc


class Orca(orca_pb2_grpc.OpenRcaServiceServicer):
    """Load reports as a test has them: `load` at each interval, while it is open; None serves none."""

    def __init__(self):
        self.load = {"pending_tokens": 0.0}
        self.share = 0.0
        self.asked_s = None
        self.is_open = asyncio.Event()
        self.is_open.set()

    def report(self):
        return OrcaLoadReport(named_metrics=self.load, application_utilization=self.share)

    async def StreamCoreMetrics(self, request, context):
        self.asked_s = request.report_interval.ToNanoseconds() / 1e9
        while True:
            await self.is_open.wait()
            yield self.report()
            await asyncio.sleep(0.02)


def policy_of(*modules, callers=frozenset({"gateway"})):
    return {
        f"/{service.full_name}/{method.name}": callers
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


@asynccontextmanager
async def worker_running(keys, worker, listen, orca=None):
    """Serve one worker; gives its port."""
    services = [
        Service(register=worker_pb2_grpc.add_WorkerServiceServicer_to_server, servicer=worker),
        Service(register=oip_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, servicer=worker),
    ]
    policy = policy_of(worker_pb2, oip_pb2)
    if orca is not None:
        services.append(Service(register=orca_pb2_grpc.add_OpenRcaServiceServicer_to_server, servicer=orca))
        policy |= policy_of(orca_pb2)
    settings = ServerSettings(key_file=Path("unused"), trust_file=Path("unused"), drain_grace_ms=100, listen=listen)
    async with running(services, policy, name="worker", keys=keys, settings=settings) as server:
        # running() names 127.0.0.1, whatever address was asked for.
        yield int(server.target.rpartition(":")[2])
