# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Wires the launcher: the one place that names adapters and reads the environment."""

import asyncio
import json
import logging
import math
import os
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

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
from dragoman_launcher.attendance import JobLimits
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
from dragoman_launcher.servicer import LOG_POLL_S, POLICY, LauncherServicer
from dragoman_launcher.settings import LauncherSettings
from dragoman_launcher.submission import JobSubmission
from dragoman_launcher.supervisor import JobSupervisor
from dragoman_launcher.trainer_check import PodRecipeChecker, TrainerRecipeChecker
from dragoman_launcher.trainer_environment import Places

if TYPE_CHECKING:
    from dragoman_launcher.lease import Leadership

PREFIX = "DRAGOMAN_LAUNCHER_"
TOKEN_MARGIN_S = 3600
"""A token outlives the longest job by this, for what the job does when it is told to stop."""
ANNOUNCE_WAIT_S = 5.0
CLUSTER_LOG_POLL_S = 1.0
"""How often a followed log is looked for in the cluster, which is asked for it over the network."""

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
    others = ServiceTokenAuthenticator(trust, audience="launcher")
    if cluster is None:
        backend = _processes(own, environ, token, others)
    else:
        backend = await _cluster(own, cluster, token=token, others=others, clock=clock)
    store, catalogue = backend.store, backend.catalogue
    log = open_log(own.events_url, own.kafka)
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
            max_job_s=own.max_job_s if cluster is None else math.inf,
            max_log_bytes=own.max_log_bytes,
            cancel_grace_s=own.cancel_grace_ms / 1e3,
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
        data_dir=own.data_dir.absolute() if cluster is None and own.data_dir is not None else None,
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
        log_poll_s=backend.log_poll_s,
    )

    async def stop_jobs() -> None:
        # Before calls drain: whoever follows a job's log waits for the job's end.
        await supervisor.drain("launcher stopped")
        await announcer.drained(ANNOUNCE_WAIT_S)

    async def lead() -> None:
        try:
            await supervisor.open()
            await announcer.run()
        finally:
            await supervisor.step_down()
            await backend.release()

    def see(job: TrainingJob) -> None:
        catalogue.take(job)
        supervisor.notice(job)

    leadership = backend.leadership(lead) if backend.leadership is not None else None

    async def stop_leading() -> None:
        # The cluster runs the jobs, also while a launcher is replaced, and the next one need not wait.
        if leadership is not None:
            if leadership.is_leading:
                await announcer.drained(ANNOUNCE_WAIT_S)
            await leadership.stop()

    await supervisor.load()
    measure(catalogue, queue, telemetry.meter("dragoman_launcher"))
    try:
        await serve(
            [Service(register=launcher_pb2_grpc.add_LauncherServiceServicer_to_server, servicer=servicer)],
            own.server,
            authenticator=backend.authenticator,
            policy=POLICY,
            # Only once the port is bound can a job be told where to report.
            readiness=supervisor.open if leadership is None else None,
            background=[
                announcer.run() if leadership is None else leadership.run(),
                *(run(see) for run in backend.background),
            ],
            on_stop=stop_jobs if leadership is None else stop_leading,
        )
    finally:
        await supervisor.close()
        await backend.close()
        await registry.close()
        await asyncio.to_thread(log.close)


async def _nothing() -> None:
    """Nobody else takes the jobs over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Backend:
    """What differs between processes and a cluster."""

    runner: JobRunner
    store: JobStore
    catalogue: JobCatalogue
    checker: RecipeChecker
    authenticator: Authenticator
    close: Callable[[], Awaitable[None]]
    log_poll_s: float = LOG_POLL_S
    exchange: PodTokenExchange | None = None
    background: tuple[Callable[[Callable[[TrainingJob], None]], Coroutine[Any, Any, None]], ...] = ()
    """Each told of what other launchers change."""
    leadership: Callable[[Callable[[], Coroutine[Any, Any, None]]], "Leadership"] | None = None
    """Several launchers share the jobs: makes what decides which of them leads. None: there is one."""
    release: Callable[[], Awaitable[None]] = _nothing


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
    if own.jobs_dir is None or own.data_dir is None:
        raise FailedPreconditionError("jobs_dir and data_dir are needed for jobs that run as processes.")
    store = FolderJobStore(own.jobs_dir.absolute()).lock()
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
        store.close()

    return _Backend(
        runner=processes,
        store=store,
        catalogue=JobCatalogue(store),
        checker=checker,
        authenticator=others,
        close=close,
    )


async def _cluster(
    own: LauncherSettings,
    cluster: ClusterSettings,
    *,
    token: Callable[[TrainingJob], tuple[str, datetime]],
    others: Authenticator,
    clock: Clock,
) -> _Backend:
    # Late: a laptop needs no Kubernetes client, and importing it takes a second.
    try:
        from dragoman_launcher.cluster_api import ClusterApi
        from dragoman_launcher.cluster_store import ClusterJobStore
        from dragoman_launcher.kubernetes_jobs import KubernetesJobRunner
        from dragoman_launcher.lease import Leadership
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
        places=lambda: _places(own),
    )
    await runner.open()
    store = ClusterJobStore(api, clock)
    catalogue = JobCatalogue(store)
    try:
        for spec in await runner.recorded():
            if await store.create(spec):
                logger.warning("job found in the cluster alone", extra={"job": spec.id, "tenant": spec.tenant})
    except DragomanError:
        await runner.close()
        raise
    pods = PodTokenAuthenticator(api=api, cluster=cluster, others=others, clock=clock)
    holder = f"{socket.gethostname()}_{secrets.token_hex(8)}"
    return _Backend(
        runner=runner,
        store=store,
        catalogue=catalogue,
        log_poll_s=CLUSTER_LOG_POLL_S,
        checker=PodRecipeChecker(),
        authenticator=pods,
        close=runner.close,
        exchange=PodTokenExchange(api=api, catalogue=catalogue, token=token),
        background=(lambda _see: pods.run(), store.follow),
        leadership=lambda lead: Leadership(api, holder=holder, clock=clock, lead=lead),
        release=runner.release,
    )


def _places(own: LauncherSettings) -> Places:
    return Places(
        data_dir=str(own.data_dir.absolute()) if own.data_dir is not None else "",
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
