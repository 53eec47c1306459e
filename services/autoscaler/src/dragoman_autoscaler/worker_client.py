# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Workers' load reports over gRPC: OpenRcaService.StreamCoreMetrics, a channel for each worker.

Owns the stream. Not its retries (follower.py).
"""

import asyncio
from collections.abc import AsyncGenerator

from dragoman_autoscaler.convert import load_from_pb
from dragoman_autoscaler.ports import WorkerLoad
from dragoman_common.channel import connect
from dragoman_common.errors import UnavailableError
from dragoman_common.service_keys import TokenSource
from dragoman_common.status import translated
from dragoman_common.tls import ChannelTls
from xds.service.orca.v3 import orca_pb2, orca_pb2_grpc

STREAM_LIFE_S = 1_800.0


class WorkerClient:
    """See ports.LoadSource."""

    def __init__(self, tokens: TokenSource, *, interval_s: float, silence_s: float, tls: ChannelTls | None) -> None:
        """Connect to nothing yet.

        Args:
            tokens: This service's credential.
            interval_s: Asked for between two reports.
            silence_s: A stream that says nothing for so long is given up: its machine may be gone.
            tls: Whom to trust; None is plaintext.
        """
        self._tokens = tokens
        self._interval_s = interval_s
        self._silence_s = silence_s
        self._tls = tls

    async def loads(self, address: str, *, server_name: str) -> AsyncGenerator[WorkerLoad, None]:
        """See ports.LoadSource."""
        request = orca_pb2.OrcaLoadReportRequest()
        request.report_interval.FromMilliseconds(int(self._interval_s * 1000))
        async with connect(
            address, audience="worker", tokens=self._tokens, tls=self._tls, server_name=server_name
        ) as channel:
            call = orca_pb2_grpc.OpenRcaServiceStub(channel).StreamCoreMetrics(request, timeout=STREAM_LIFE_S)
            reports = aiter(call)
            try:
                while True:
                    try:
                        with translated():
                            async with asyncio.timeout(self._silence_s):
                                report = await anext(reports)
                    except TimeoutError:
                        raise UnavailableError(f"no report for {self._silence_s:.1f} s") from None
                    except StopAsyncIteration:
                        return
                    yield load_from_pb(report)
            finally:
                call.cancel()
