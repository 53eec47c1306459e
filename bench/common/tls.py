# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What TLS costs a call between two services: plaintext, TLS, and TLS that asks for a client certificate, too.

    python bench/common/tls.py [--calls 2000] [--rounds 5]

Server and client are in one process: what differs is the wire. The kinds take turns, so that other work on the cores
meets all of them; each figure is the median of the rounds' medians.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import grpc

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc
from dragoman_common.server import Service
from dragoman_common.testing import running, server_settings
from dragoman_common.testing_certificates import TestAuthority
from dragoman_common.tls import TlsSettings

_SERVICE = pb.DESCRIPTOR.services_by_name["MonitorService"]
_POLICY = {f"/{_SERVICE.full_name}/{method.name}": frozenset({"gateway"}) for method in _SERVICE.methods}
_METHOD = f"/{_SERVICE.full_name}/GetReport"


class _Monitor(monitor_pb2_grpc.MonitorServiceServicer):
    async def GetReport(self, _request: pb.GetReportRequest, _context: object) -> pb.GetReportResponse:  # noqa: N802 - gRPC's
        return pb.GetReportResponse()


async def _latency_us(call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes], num_calls: int) -> float:
    took = []
    for _ in range(num_calls):
        begin = time.perf_counter()
        await call(b"", timeout=30)
        took.append(time.perf_counter() - begin)
    return statistics.median(took) * 1e6


async def measure(num_calls: int, num_rounds: int) -> dict[str, float]:
    """Median time of a call in microseconds, by kind of connection."""
    authority = TestAuthority()
    service = Service(register=monitor_pb2_grpc.add_MonitorServiceServicer_to_server, servicer=_Monitor())
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = authority.files(folder / "gateway", identity="gateway")

        async def serve(tls: TlsSettings) -> object:
            return await stack.enter_async_context(
                running([service], _POLICY, name="monitor", settings=server_settings(tls=tls))
            )

        plain, tls = await serve(TlsSettings()), await serve(files.settings())
        mutual = await serve(files.settings(is_mutual=True))
        trusted = files.settings().channels()
        channels = {
            "plaintext, token": await stack.enter_async_context(plain.channel("gateway")),
            "TLS, token": await stack.enter_async_context(tls.channel("gateway", tls=trusted)),
            "TLS, token and client certificate": await stack.enter_async_context(
                mutual.channel("gateway", tls=trusted)
            ),
        }
        found: dict[str, list[float]] = {name: [] for name in channels}
        for _ in range(num_rounds):
            for name, channel in channels.items():
                found[name].append(await _latency_us(channel.unary_unary(_METHOD), num_calls))
        return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    for name, median_us in asyncio.run(measure(chosen.calls, chosen.rounds)).items():
        print(f"{name:<36}{median_us:8.0f} us")


if __name__ == "__main__":
    main()
