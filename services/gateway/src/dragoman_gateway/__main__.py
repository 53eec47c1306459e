# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Wiring of the gateway: settings -> channels, watches, outbox -> pipeline -> gRPC and HTTP."""

import asyncio
import functools
import logging
import os
import random
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import grpc

from dragoman.gateway.v1.gateway_pb2_grpc import add_GatewayServiceServicer_to_server
from dragoman_common import deadline, logs, settings, telemetry
from dragoman_common.audit import Audit
from dragoman_common.auth import calling_as
from dragoman_common.channel import connect
from dragoman_common.clock import SystemClock
from dragoman_common.errors import DragomanError
from dragoman_common.name_service import NameService
from dragoman_common.resolver import Resolver
from dragoman_common.server import Service, serve
from dragoman_common.service_keys import KeyTokens, ServiceKey
from dragoman_events.opening import open_log
from dragoman_gateway import oip, routing_metrics, servicer
from dragoman_gateway.admission import ServiceTimes
from dragoman_gateway.alias_watch import AliasWatch
from dragoman_gateway.aliases import AliasTable
from dragoman_gateway.call_meter import CallMeter, code_name
from dragoman_gateway.clients import WorkerClient
from dragoman_gateway.coalescing import CoalescingTokenizer
from dragoman_gateway.demand_reporter import DemandReporter
from dragoman_gateway.dispatch import Dispatcher
from dragoman_gateway.feedback import FeedbackDesk
from dragoman_gateway.fleet import OpenChannel, WorkerFleet
from dragoman_gateway.held import HeldCalls
from dragoman_gateway.http_server import HttpServer
from dragoman_gateway.journal import EventJournal
from dragoman_gateway.limits import Limits
from dragoman_gateway.models import ModelDirectory
from dragoman_gateway.outbox import Outbox
from dragoman_gateway.pipeline import Pipeline
from dragoman_gateway.readiness import Readiness
from dragoman_gateway.recent import RecentCalls
from dragoman_gateway.registry_client import RegistryCatalogue, RegistryHistory, fetch_key_list
from dragoman_gateway.rest import RestApi
from dragoman_gateway.retry_budget import MIN_BURST, RetryBudget
from dragoman_gateway.route import Router
from dragoman_gateway.routing_counts import RoutingCounts
from dragoman_gateway.settings import Settings
from dragoman_gateway.spool import Spool
from dragoman_gateway.spool_alarm import SpoolAlarm
from dragoman_gateway.tokenizer_fleet import TokenizerFleet
from dragoman_gateway.user_keys import UserKeysError, load_user_keys
from dragoman_gateway.user_tokens import TokenRules, UserTokenAuthenticator
from dragoman_gateway.withdrawals import Withdrawals
from dragoman_gateway.workers import WorkerTable
from dragoman_models.key_following import KeyFollower, load_keys
from inference.oip_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

_logger = logging.getLogger("dragoman_gateway")
_dropped = telemetry.meter("dragoman.gateway").create_counter(
    "dragoman.gateway.events_dropped", unit="1", description="Events of failed calls that the log did not take"
)


async def run(config: Settings) -> None:
    """Serve until SIGTERM."""
    clock = SystemClock()
    limits = Limits(
        max_message_bytes=config.server.max_message_bytes,
        max_rows=config.max_rows,
        max_text_bytes=config.max_text_bytes,
        max_call_tokens=config.max_call_tokens,
    )
    authenticator = UserTokenAuthenticator(
        load_user_keys(config.user_jwks_file),
        TokenRules(
            issuer=config.user_issuer,
            audience=config.user_audience,
            max_lifetime_s=config.user_max_lifetime_s,
            leeway_s=config.user_leeway_s,
        ),
        clock,
    )
    audit = Audit("gateway")
    keys = await asyncio.to_thread(load_keys, config.registry_keys_file, config.key_list_file, audit)
    tokens = KeyTokens(ServiceKey.load(config.server.key_file))

    tls, http_tls = config.server.tls.channels(), config.server.tls.server()

    def channel(target: str, audience: str, server_name: str = "") -> grpc.aio.Channel:
        return connect(
            target,
            audience=audience,
            tokens=tokens,
            max_message_bytes=config.server.max_message_bytes,
            tls=tls,
            server_name=server_name,
        )

    def channels_to(audience: str) -> OpenChannel:
        # A certificate holds the name that the address was found by.
        return lambda address, server_name: channel(address, audience, server_name)

    registry, tokenizer = channel(config.registry_target, "registry"), channel(config.tokenizer_target, "tokenizer")
    log = open_log(config.events_url, config.kafka)
    spool = Spool(config.spool_folder) if config.spool_folder else None

    table = WorkerTable(random.SystemRandom(), clock)
    workers = WorkerClient(timeout_s=config.worker_timeout_ms / 1e3, on_load=table.update_load)
    names = Resolver()
    fleet = WorkerFleet(config.workers, names, channels_to("worker"), table, workers)
    held = HeldCalls(config.pools.names, clock, max_calls=config.max_held_calls)
    withdrawals = Withdrawals()
    catalogue = RegistryCatalogue(registry, keys, withdrawals)
    history = RegistryHistory(registry, keys)
    router = Router(
        AliasTable(),
        table,
        catalogue,
        history,
        withdrawals=withdrawals,
        clock=clock,
        pools=config.pools,
        held=held,
        max_hold_s=config.max_hold_ms / 1e3,
        choice=random.SystemRandom(),
        has_autoscaler=config.autoscaler is not None,
    )
    alias_watch = AliasWatch(registry, keys, catalogue, history, router)

    def verify_again() -> None:
        catalogue.keys_are_newer()
        alias_watch.keys_are_newer()

    key_follower = KeyFollower(
        keys,
        functools.partial(fetch_key_list, registry),
        audit=audit,
        on_newer=verify_again,
        period_s=config.key_list_period_s,
        kept=config.key_list_file,
    )
    readiness = Readiness(router, tokenizer)
    outbox = Outbox(
        log,
        spool,
        SpoolAlarm(config.spool_max_events),
        max_pending_events=config.max_pending_events,
        max_spooled_events=config.spool_max_events,
        ack_timeout_s=config.event_ack_timeout_ms / 1e3,
        remaining_s=deadline.remaining_s,
        on_dropped=_on_dropped,
    )
    journal = EventJournal(outbox, config.durabilities)
    models = ModelDirectory(router, catalogue, limits)
    recent = RecentCalls(max_calls=config.max_recent_calls)
    # A worker that dies takes its calls along at once: at most half of all where there are two.
    retries = RetryBudget(burst=max(MIN_BURST, config.max_concurrent_calls // 2))
    tokenizers = TokenizerFleet(
        config.tokenizer,
        names,
        channels_to("tokenizer"),
        timeout_s=config.tokenizer_timeout_ms / 1e3,
        retries=retries,
        remaining_s=deadline.remaining_s,
        clock=clock,
        choice=random.SystemRandom(),
    )
    calls, counts = CallMeter(), RoutingCounts()
    routing_metrics.observe(counts, held, table)
    pipeline = Pipeline(
        router=router,
        tokenizer=CoalescingTokenizer(
            tokenizers,
            on_behalf=_on_behalf,
            remaining_s=deadline.remaining_s,
            max_rows=limits.max_rows,
            max_bytes=limits.max_call_text_bytes,
        ),
        dispatcher=Dispatcher(
            router,
            table,
            workers,
            deadline,
            clock=clock,
            retries=retries,
            service_times=ServiceTimes(),
            choice=random.SystemRandom(),
            counts=counts,
        ),
        journal=journal,
        recent=recent,
        limits=limits,
        budget=deadline,
        clock=clock,
        code_name=code_name,
        max_concurrent_calls=config.max_concurrent_calls,
    )
    api = RestApi(
        pipeline=pipeline,
        models=models,
        readiness=readiness,
        authenticator=authenticator,
        limits=limits,
        deadline_s=config.http_deadline_ms / 1e3,
        read_timeout_s=config.http_read_timeout_ms / 1e3,
        max_calls=config.http_max_calls,
        calls=calls,
    )
    http = HttpServer(
        api.application(),
        listen=config.http_listen,
        ready_file=config.http_ready_file,
        max_connections=config.http_max_connections,
        read_timeout_s=config.http_read_timeout_ms / 1e3,
        grace_s=config.server.drain_grace_ms / 1e3,
        context=http_tls.context if http_tls else None,
    )
    services = [
        Service(
            register=add_GatewayServiceServicer_to_server,
            servicer=servicer.GatewayServicer(
                pipeline, FeedbackDesk(journal, recent, limits, clock), models, limits, calls
            ),
        ),
        Service(
            register=add_GRPCInferenceServiceServicer_to_server,
            servicer=oip.InferenceServicer(pipeline, models, readiness, limits, calls),
        ),
    ]
    try:
        await serve(
            services,
            config.server,
            authenticator=authenticator,
            policy=servicer.POLICY | oip.POLICY,
            readiness=readiness.wait,
            background=(
                outbox.run(),
                alias_watch.run(),
                key_follower.run(),
                fleet.run(),
                tokenizers.run(),
                *_demand_reports(config, names, channels_to("autoscaler"), held),
                readiness.run(),
                http.run(),
            ),
            on_stop=readiness.stop,
            on_drain=http.stop,
        )
    finally:
        await catalogue.close()
        names.close()
        for open_channel in (registry, tokenizer):
            await open_channel.close()
        log.close()
        if spool:
            spool.close()


@contextmanager
def _on_behalf(tenant: str, left_s: float | None) -> Iterator[None]:
    with calling_as(tenant), nullcontext() if left_s is None else deadline.within(left_s):
        yield


def _demand_reports(
    config: Settings, names: NameService, open_channel: OpenChannel, held: HeldCalls
) -> Iterator[Coroutine[Any, Any, None]]:
    if config.autoscaler is not None:
        yield DemandReporter(config.autoscaler, names, open_channel, held).run()


def _on_dropped(num_events: int) -> None:
    _dropped.add(num_events)
    _logger.warning("events of failed calls dropped", extra={"num_events": num_events})


def main() -> None:
    """Entry point: `python -m dragoman_gateway`."""
    config = settings.load(Settings, os.environ, prefix="DRAGOMAN_GATEWAY_")
    logs.configure("gateway", config.server.log_level)
    telemetry.configure("gateway", config.server.otlp_endpoint, config.server.metrics_listen)
    try:
        asyncio.run(run(config))
    except (UserKeysError, DragomanError) as error:
        sys.stderr.write(f"gateway: {error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
