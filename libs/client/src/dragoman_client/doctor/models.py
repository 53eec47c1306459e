# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the services say of the tenant's models: the key list, what should be loaded, how far the counts are."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from dragoman.inference.v1 import worker_pb2
from dragoman.registry.v1 import registry_pb2, registry_pb2_grpc
from dragoman_client.cli.loading import loading_of
from dragoman_client.doctor.deployment import Deployment
from dragoman_client.doctor.finding import Finding, Findings
from dragoman_client.local import keys
from dragoman_client.local.user_tokens import LOCAL_TENANT
from dragoman_client.operator_client import OperatorClient, OperatorTargets
from dragoman_common.channel import connect
from dragoman_common.errors import DragomanError, InvalidArgumentError, NotFoundError
from dragoman_common.service_keys import KeyTokens, ServiceKey
from dragoman_common.status import translated
from dragoman_common.tls import ChannelTls
from dragoman_models.verifying_keys import read_key_chain

TIMEOUT_S = 5.0
_MUCH_LAG = 1_000
_OLD = timedelta(days=365)
_HEALTH_FIRST = "see the line of its health"


async def check_models(deployment: Deployment) -> AsyncIterator[Finding]:
    """Ask registry, worker and monitor as the operator."""
    targets = deployment.targets
    path = keys.key_file(deployment.home, "operator")
    try:
        key = ServiceKey.load(path)
    except (OSError, ValueError, TypeError):
        yield Findings("models").skipped("aliases", f"{path} is no usable key")
        return
    if not targets.get("registry"):
        yield Findings("models").skipped("aliases", "the registry has no address")
        return
    tls = ChannelTls(deployment.ca_file) if deployment.ca_file else None
    yield await _key_list(targets["registry"], key, tls)
    asked = OperatorTargets(
        registry=targets["registry"],
        launcher=targets.get("launcher", ""),
        monitor=targets.get("monitor", ""),
        workers=(targets["worker"],) if targets.get("worker") else (),
    )
    async with OperatorClient(asked, key, tenant=LOCAL_TENANT, tls=tls) as operator:
        models: list[registry_pb2.ModelSummary] = []
        try:
            models = await operator.models()
        except DragomanError as error:
            yield Findings("models").fail("aliases", f"the registry does not list them: {error.message}", _HEALTH_FIRST)
        else:
            async for finding in _loaded(operator, asked, models):
                yield finding
        if not asked.monitor:
            yield Findings("monitor").skipped("lag", "no address")
            return
        async for finding in _freshness(operator, models[0].model if models else "none"):
            yield finding


async def _loaded(
    operator: OperatorClient, asked: OperatorTargets, models: list[registry_pb2.ModelSummary]
) -> AsyncIterator[Finding]:
    here = Findings("models")
    if not asked.workers:
        yield here.skipped("loaded", "the worker has no address")
        return
    loaded: list[worker_pb2.LoadedVersion]
    try:
        loaded = await operator.loaded(timeout_s=TIMEOUT_S)
    except DragomanError as error:
        yield here.fail("loaded", f"the worker does not say what it holds: {error.message}", _HEALTH_FIRST)
        return
    events = [event for model in models for event in model.aliases]
    for event in events:
        loading = loading_of(event, loaded)
        what = f"{event.model}@{event.alias} (version {event.stable_version})"
        if loading.state == "loading":
            yield here.warn("loaded", f"{what} is being loaded", "wait; the version before it answers meanwhile")
        elif loading.state != "ready":
            advice = f"`dragoman rollback {event.model} {event.alias}`, or repair what the reason names"
            yield here.fail("loaded", f"{what} is {loading.state}: {loading.reason}", advice)
    if all(loading_of(event, loaded).state == "ready" for event in events):
        yield here.ok("loaded", f"the worker is ready for all {len(events)} aliases")


async def _freshness(operator: OperatorClient, model: str) -> AsyncIterator[Finding]:
    here = Findings("monitor")
    try:
        freshness = (await operator.report(model)).freshness
    except DragomanError as error:
        yield here.fail("lag", f"the monitor gives no report: {error.message}", "see the lines of broker and books")
        return
    lag = freshness.predictions_lag + freshness.feedback_lag
    if lag > _MUCH_LAG:
        advice = "wait if it falls; otherwise see the monitor's log, and the lines of broker and books"
        yield here.warn("lag", f"{lag} events are not counted yet", advice)
    else:
        yield here.ok("lag", f"{lag} events are not counted yet")
    if freshness.num_dead_letters:
        advice = "`dragoman events tail --topic dragoman.deadletter` shows each with its reason"
        yield here.warn("dead letters", f"{freshness.num_dead_letters} events could not be read", advice)
    else:
        yield here.ok("dead letters", "none")
    if freshness.num_lost_events:
        advice = "counts are too low by these: keep events for longer than the monitor is ever away"
        yield here.warn("lost events", f"{freshness.num_lost_events} were dropped before they were read", advice)


async def _key_list(target: str, key: ServiceKey, tls: ChannelTls | None) -> Finding:
    here = Findings("registry")
    channel = connect(target, audience="registry", tokens=KeyTokens(key, tenant=LOCAL_TENANT), tls=tls)
    try:
        with translated():
            reply = await registry_pb2_grpc.RegistryServiceStub(channel).GetKeyList(
                registry_pb2.GetKeyListRequest(), timeout=TIMEOUT_S
            )
        newest = read_key_chain(reply.key_chain, what="the registry's key list")
    except NotFoundError:
        return here.ok("key list", "plain keys, no signed list: they change by hand, everywhere at once")
    except InvalidArgumentError as error:
        return here.fail("key list", error.message, "put the chain back that `dragoman keylist show` verifies")
    except DragomanError as error:
        return here.fail("key list", f"cannot be read: {error.message}", _HEALTH_FIRST)
    finally:
        await channel.close()
    revoked = sum(listed.revoked_time is not None for listed in newest.keys)
    age = datetime.now(UTC) - newest.issue_time
    said = f"number {newest.sequence}, {age.days} days old, {len(newest.keys)} keys, {revoked} revoked"
    if reply.sequence != newest.sequence:
        return here.fail("key list", f"{said}, but the registry says number {reply.sequence}", "restart the registry")
    if age > _OLD:
        return here.warn("key list", said, "rotate: `dragoman keylist add` a new key, then revoke the old one")
    return here.ok("key list", said)
