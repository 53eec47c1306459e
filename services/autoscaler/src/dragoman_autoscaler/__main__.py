# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The wiring: ``python -m dragoman_autoscaler``. The only module that reads the environment and names adapters."""

import asyncio
import os

from dragoman.autoscaler.v1 import autoscaler_pb2_grpc as pb_grpc
from dragoman_autoscaler import metrics
from dragoman_autoscaler.follower import PoolFollower
from dragoman_autoscaler.pools import Pools
from dragoman_autoscaler.servicer import POLICY, DemandServicer, KedaServicer
from dragoman_autoscaler.settings import PREFIX, Settings
from dragoman_autoscaler.worker_client import WorkerClient
from dragoman_common import logs, telemetry
from dragoman_common.clock import SystemClock
from dragoman_common.resolver import Resolver
from dragoman_common.server import Service, serve
from dragoman_common.service_keys import KeyTokens, ServiceKey, ServiceTokenAuthenticator, TrustStore
from dragoman_common.settings import load
from externalscaler import externalscaler_pb2_grpc as keda_grpc

NAME = "autoscaler"


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    clock = SystemClock()
    pools = Pools((place.pool for place in settings.places), settings.limits, clock)
    names = Resolver()
    source = WorkerClient(
        KeyTokens(ServiceKey.load(settings.server.key_file)),
        interval_s=settings.report_interval_ms / 1000,
        silence_s=settings.limits.stale_after_s,
        tls=settings.server.tls.channels(),
    )
    by_name = {pool.name: pool for pool in pools}
    followers = [
        PoolFollower(place, by_name[place.pool], names=names, source=source, clock=clock, on_change=pools.change)
        for place in settings.places
    ]
    metrics.observe(pools)
    scaler = KedaServicer(pools, settings.targets)

    async def asked() -> None:
        await asyncio.gather(*(follower.has_asked.wait() for follower in followers))

    try:
        await serve(
            [
                Service(register=keda_grpc.add_ExternalScalerServicer_to_server, servicer=scaler),
                Service(register=pb_grpc.add_AutoscalerServiceServicer_to_server, servicer=DemandServicer(pools)),
            ],
            settings.server,
            authenticator=ServiceTokenAuthenticator(TrustStore.load(settings.server.trust_file), audience=NAME),
            policy=POLICY,
            readiness=asked,
            background=[follower.run() for follower in followers],
            on_stop=scaler.stop,
        )
    finally:
        names.close()


def main() -> None:
    """Read the settings and run."""
    settings = load(Settings, os.environ, prefix=PREFIX)
    logs.configure(NAME, settings.server.log_level)
    telemetry.configure(NAME, settings.server.otlp_endpoint, settings.server.metrics_listen)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
