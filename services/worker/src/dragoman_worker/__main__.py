# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The wiring: ``python -m dragoman_worker``. The only module that reads the environment and names concrete adapters."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from importlib.metadata import version

from dragoman.inference.v1 import worker_pb2_grpc
from dragoman_common import logs, telemetry
from dragoman_common.audit import Audit
from dragoman_common.channel import connect
from dragoman_common.clock import SystemClock
from dragoman_common.server import Service, serve
from dragoman_common.service_keys import KeyTokens, ServiceKey, ServiceTokenAuthenticator, TrustStore
from dragoman_common.settings import load
from dragoman_models.key_following import KeyFollower, load_keys
from dragoman_worker import metrics
from dragoman_worker.admission import AdmissionLimits
from dragoman_worker.alias_book import AliasBook
from dragoman_worker.alias_follower import AliasFollower
from dragoman_worker.alias_memory import AliasMemory
from dragoman_worker.batcher import BatchLimits
from dragoman_worker.cache import Cache
from dragoman_worker.engine import Engine, EngineLimits
from dragoman_worker.file_url import FileUrlReader
from dragoman_worker.followed_models import FollowedModels
from dragoman_worker.load import LoadMeter
from dragoman_worker.loader import Loader
from dragoman_worker.orca import OrcaReporter, OrcaServicer
from dragoman_worker.placement import Placement, PlacementLimits
from dragoman_worker.ports import ModelFiles
from dragoman_worker.process_launcher import ProcessLauncher, child_environment
from dragoman_worker.registry_client import RegistryClient
from dragoman_worker.resource_usage import ResourceUsage, own_cgroup
from dragoman_worker.servicer import POLICY, InferenceServicer, WorkerServicer
from dragoman_worker.settings import WorkerSettings
from dragoman_worker.starter import StarterLimits, VersionStarter
from inference import oip_pb2_grpc
from xds.service.orca.v3 import orca_pb2_grpc

logger = logging.getLogger("dragoman_worker")


def engine_limits(settings: WorkerSettings) -> EngineLimits:
    """Return what each loaded version may take."""
    return EngineLimits(
        batch=BatchLimits(
            max_batch_size=settings.max_batch_size,
            max_batch_tokens=settings.max_batch_tokens,
            max_wait_ms=settings.max_wait_ms,
            min_remaining_ms=settings.min_remaining_ms,
        ),
        admission=AdmissionLimits(
            max_waiting_requests=settings.max_waiting_requests,
            max_waiting_tokens=settings.max_waiting_tokens,
            max_tenant_share=settings.max_tenant_share,
        ),
        max_batch_ms=settings.max_batch_ms,
        max_restart_delay_ms=settings.max_restart_delay_ms,
    )


async def run(settings: WorkerSettings, environment: dict[str, str]) -> None:
    """Serve until SIGTERM or SIGINT."""
    what = {"pool": settings.pool, "models": ",".join(settings.models), "device": settings.device}
    logger.info("starting", extra=what)
    tokens = KeyTokens(ServiceKey.load(settings.server.key_file))
    trust = TrustStore.load(settings.server.trust_file)
    launcher = ProcessLauncher(
        environment=environment,
        num_threads=settings.compute_threads,
        load_timeout_s=settings.load_timeout_s,
        device=settings.device,
    )

    def make_engine(name: str, files: Callable[[], Awaitable[ModelFiles]], on_change: Callable[[], None]) -> Engine:
        return Engine(name, launcher=launcher, files=files, limits=engine_limits(settings), on_change=on_change)

    async with connect(
        settings.registry_target,
        audience="registry",
        tokens=tokens,
        max_message_bytes=settings.server.max_message_bytes,
        tls=settings.server.tls.channels(),
    ) as channel:
        registry = RegistryClient(channel, await asyncio.to_thread(FileUrlReader, settings.file_url_ca_file))
        cache = Cache(settings.cache_folder, max_bytes=settings.max_cache_bytes)
        audit = Audit("worker")
        keys = await asyncio.to_thread(load_keys, settings.registry_keys_file, settings.key_list_file, audit)
        clock = SystemClock()
        placement = Placement(
            follower=AliasFollower(
                registry,
                AliasBook(registry, keys, clock),
                AliasMemory(settings.cache_folder, keys),
                FollowedModels(settings.models),
            ),
            starter=VersionStarter(
                registry=registry,
                keys=keys,
                loader=Loader(registry, cache),
                make_engine=make_engine,
                limits=StarterLimits(
                    max_loaded_versions=settings.max_loaded_versions,
                    max_concurrent_loads=settings.max_concurrent_loads,
                ),
            ),
            clock=clock,
            limits=PlacementLimits(
                linger_ms=settings.drain_linger_ms,
                first_retry_ms=settings.first_load_retry_ms,
                max_retry_ms=settings.max_load_retry_ms,
            ),
        )
        key_follower = KeyFollower(
            keys,
            registry.key_list,
            audit=audit,
            on_newer=placement.keys_are_newer,
            period_s=settings.key_list_period_s,
            kept=settings.key_list_file,
        )
        metrics.observe(placement, pool=settings.pool)
        usage = ResourceUsage(own_cgroup())
        reporter = OrcaReporter(LoadMeter(placement.engines), usage)
        inference = InferenceServicer(
            placement,
            reporter,
            version=version("dragoman-worker"),
            max_rows=settings.max_rows_per_call,
            max_tokens=settings.max_tokens_per_call,
            max_row_tokens=settings.max_batch_tokens,
        )

        async def close() -> None:
            await placement.close()
            await launcher.close()

        orca = OrcaServicer(reporter)
        watching = WorkerServicer(placement, heartbeat_period_s=settings.heartbeat_period_ms / 1000)
        await serve(
            [
                Service(register=oip_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, servicer=inference),
                Service(register=worker_pb2_grpc.add_WorkerServiceServicer_to_server, servicer=watching),
                Service(register=orca_pb2_grpc.add_OpenRcaServiceServicer_to_server, servicer=orca),
            ],
            settings.server,
            authenticator=ServiceTokenAuthenticator(trust, audience="worker"),
            policy=POLICY,
            readiness=placement.wait_settled,
            background=[placement.follow(), key_follower.run(), usage.run()],
            on_stop=orca.stop,
            on_drain=close,
        )


def main() -> None:
    """Read the settings and run."""
    settings = load(WorkerSettings, os.environ, prefix="DRAGOMAN_WORKER_")
    logs.configure("worker", settings.server.log_level)
    telemetry.configure("worker", settings.server.otlp_endpoint, settings.server.metrics_listen)
    asyncio.run(run(settings, child_environment(os.environ, settings.compute_threads)))


if __name__ == "__main__":
    main()
