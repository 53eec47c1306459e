# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Wires the launcher: the one place that names adapters and reads the environment."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dragoman.launcher.v1 import launcher_pb2_grpc
from dragoman_common import logs, settings, telemetry
from dragoman_common.auth import Authenticator
from dragoman_common.channel import connect
from dragoman_common.clock import Clock, SystemClock
from dragoman_common.errors import DragomanError, FailedPreconditionError
from dragoman_common.server import Service, serve
from dragoman_common.service_keys import KeyTokens, ServiceKey, ServiceTokenAuthenticator, TrustStore
from dragoman_events.opening import open_log
from dragoman_launcher.announcer import Announcer
from dragoman_launcher.catalogue import JobCatalogue
from dragoman_launcher.event_log import EventLogJobEvents
from dragoman_launcher.folder_store import FolderJobStore
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.job_metrics import measure
from dragoman_launcher.job_objects import JobTerms
from dragoman_launcher.jobs_url import ClusterSettings, parse_jobs_url
from dragoman_launcher.pod_exchange import PodTokenExchange
from dragoman_launcher.ports import JobRunner, JobStore, RecipeChecker
from dragoman_launcher.process import ProcessJobRunner
from dragoman_launcher.queue import JobQueue
from dragoman_launcher.quota import Quotas
from dragoman_launcher.registry_client import RegistryDataSets
from dragoman_launcher.servicer import POLICY, LauncherServicer
from dragoman_launcher.settings import LauncherSettings
from dragoman_launcher.submission import JobSubmission
from dragoman_launcher.supervisor import JobLimits, JobSupervisor
from dragoman_launcher.trainer_check import PodRecipeChecker, TrainerRecipeChecker
from dragoman_launcher.trainer_environment import Places

PREFIX = "DRAGOMAN_LAUNCHER_"
TOKEN_MARGIN_S = 3600
"""A token outlives the longest job by this, for what the job does when it is told to stop."""
ANNOUNCE_WAIT_S = 5.0

logger = logging.getLogger("dragoman_launcher")


def main() -> None:
    own = settings.load(LauncherSettings, os.environ, prefix=PREFIX)
    logs.configure("launcher", own.server.log_level)
    telemetry.configure("launcher", own.server.otlp_endpoint, own.server.metrics_listen)
    try:
        asyncio.run(run(own, os.environ))
    except DragomanError as error:
        sys.stderr.write(f"launcher: {error.message}\n")
        raise SystemExit(1) from None


async def run(own: LauncherSettings, environ: Mapping[str, str]) -> None:
    """Serve until the process is told to stop."""
    clock = SystemClock()
    trust = TrustStore.load(own.server.trust_file)
    key = ServiceKey.load(own.server.key_file)
    token = _job_tokens(key, own, clock)
    cluster = parse_jobs_url(own.jobs_url)
    store = FolderJobStore(own.jobs_dir.absolute()).lock()
    log = open_log(own.events_url, own.kafka)
    catalogue = JobCatalogue(store)
    others = ServiceTokenAuthenticator(trust, audience="launcher")
    if cluster is None:
        backend = _processes(own, environ, token, others)
    else:
        backend = await _cluster(
            own, cluster, catalogue=catalogue, store=store, token=token, others=others, clock=clock
        )
    registry = connect(
        own.registry_target, audience="registry", tokens=KeyTokens(key, clock=clock), tls=own.server.tls.channels()
    )
    queue = JobQueue(
        max_running=own.max_running,
        max_pending=own.max_pending,
        quotas=Quotas.parse(own.tenant_quotas),
        gpus_of_a_job=cluster.gpus * cluster.workers if cluster is not None else 0,
    )
    announcer = Announcer(catalogue, store, EventLogJobEvents(log))
    supervisor = JobSupervisor(
        catalogue=catalogue,
        store=store,
        runner=backend.runner,
        queue=queue,
        limits=JobLimits(
            max_job_s=own.max_job_s, max_log_bytes=own.max_log_bytes, cancel_grace_s=own.cancel_grace_ms / 1e3
        ),
        clock=clock,
    )
    submission = JobSubmission(
        catalogue=catalogue,
        store=store,
        supervisor=supervisor,
        queue=queue,
        checker=backend.checker,
        data_sets=RegistryDataSets(registry),
        clock=clock,
        # A pod sees the data sets of its claim, which the launcher need not.
        data_dir=own.data_dir.absolute() if cluster is None else None,
        max_recipe_bytes=own.max_recipe_bytes,
        max_jobs=own.max_jobs,
    )
    servicer = LauncherServicer(
        catalogue=catalogue,
        submission=submission,
        supervisor=supervisor,
        runner=backend.runner,
        clock=clock,
        exchange=backend.exchange,
    )

    async def stop_jobs() -> None:
        if cluster is None:
            # Before calls drain: whoever follows a job's log waits for the job's end.
            await supervisor.drain("launcher stopped")
        else:
            # The cluster runs them, also while a launcher is replaced.
            supervisor.hold()
        await announcer.drained(ANNOUNCE_WAIT_S)

    await supervisor.load()
    measure(catalogue, queue, telemetry.meter("dragoman_launcher"))
    try:
        await serve(
            [Service(register=launcher_pb2_grpc.add_LauncherServiceServicer_to_server, servicer=servicer)],
            own.server,
            authenticator=backend.authenticator,
            policy=POLICY,
            # Only once the port is bound can a job be told where to report.
            readiness=supervisor.open,
            background=[announcer.run(), *(run() for run in backend.background)],
            on_stop=stop_jobs,
        )
    finally:
        await supervisor.close()
        await backend.close()
        await registry.close()
        await asyncio.to_thread(log.close)
        store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Backend:
    """What differs between processes and a cluster."""

    runner: JobRunner
    checker: RecipeChecker
    authenticator: Authenticator
    close: Callable[[], Awaitable[None]]
    exchange: PodTokenExchange | None = None
    background: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()


def _job_tokens(key: ServiceKey, own: LauncherSettings, clock: Clock) -> Callable[[TrainingJob], tuple[str, datetime]]:
    lifetime_s = own.max_job_s + TOKEN_MARGIN_S

    def token(job: TrainingJob) -> tuple[str, datetime]:
        end = clock.now() + timedelta(seconds=lifetime_s)
        text = key.token(
            audience=("launcher", "registry"),
            clock=clock,
            tenant=job.spec.tenant,
            job_id=job.id,
            job_model=job.spec.model,
            identity="trainer",
            lifetime_s=lifetime_s,
        )
        return text, end

    return token


def _processes(
    own: LauncherSettings,
    environ: Mapping[str, str],
    token: Callable[[TrainingJob], tuple[str, datetime]],
    others: Authenticator,
) -> _Backend:
    command = own.command or (sys.executable, "-P", "-m", "dragoman_trainer")
    processes = ProcessJobRunner(
        jobs_dir=own.jobs_dir.absolute(),
        command=command,
        places=lambda: _places(own),
        token=lambda job: token(job)[0],
        environ=environ,
    )
    checker = TrainerRecipeChecker(
        command=command, data_dir=own.data_dir.absolute(), environ=environ, timeout_s=own.check_timeout_ms / 1e3
    )

    async def close() -> None:
        processes.close()

    return _Backend(runner=processes, checker=checker, authenticator=others, close=close)


async def _cluster(
    own: LauncherSettings,
    cluster: ClusterSettings,
    *,
    catalogue: JobCatalogue,
    store: JobStore,
    token: Callable[[TrainingJob], tuple[str, datetime]],
    others: Authenticator,
    clock: Clock,
) -> _Backend:
    # Late: a laptop needs no Kubernetes client, and importing it takes a second.
    try:
        from dragoman_launcher.cluster_api import ClusterApi
        from dragoman_launcher.kubernetes_jobs import KubernetesJobRunner
        from dragoman_launcher.pod_tokens import PodTokenAuthenticator
    except ModuleNotFoundError as error:
        raise FailedPreconditionError(
            f"jobs_url=kubernetes:// needs {error.name}: install dragoman-launcher[kubernetes]."
        ) from error
    api = await ClusterApi.open(cluster.namespace, kubeconfig=cluster.kubeconfig)
    runner = KubernetesJobRunner(
        api=api,
        cluster=cluster,
        terms=JobTerms(
            command=own.command,
            max_job_s=own.max_job_s,
            grace_s=max(1, -(-own.cancel_grace_ms // 1000)),
        ),
        jobs_dir=own.jobs_dir.absolute(),
        places=lambda: _places(own),
    )
    await runner.open()
    try:
        for spec in await runner.recorded():
            if await store.create(spec):
                logger.warning("job found in the cluster alone", extra={"job": spec.id, "tenant": spec.tenant})
    except DragomanError:
        await runner.close()
        raise
    pods = PodTokenAuthenticator(api=api, cluster=cluster, others=others, clock=clock)
    return _Backend(
        runner=runner,
        checker=PodRecipeChecker(),
        authenticator=pods,
        close=runner.close,
        exchange=PodTokenExchange(api=api, catalogue=catalogue, token=token),
        background=(pods.run,),
    )


def _places(own: LauncherSettings) -> Places:
    return Places(
        data_dir=str(own.data_dir.absolute()),
        launcher_target=own.advertised_target or _bound_target(own),
        registry_target=own.registry_target,
        tls_ca_file=str(own.server.tls.tls_ca_file.absolute()) if own.server.tls.tls_ca_file else "",
        checkpoint_interval_s=own.checkpoint_interval_s,
    )


def _bound_target(own: LauncherSettings) -> str:
    host, _, port = own.server.listen.rpartition(":")
    if port == "0" and own.server.ready_file is not None:
        port = str(json.loads(own.server.ready_file.read_text())["port"])
    return f"{host}:{port}"


if __name__ == "__main__":
    main()
