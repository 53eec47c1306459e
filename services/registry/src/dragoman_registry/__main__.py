# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry's process: the only file that names adapters."""

import asyncio
import logging
import os
import sys

from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common import logs, settings, telemetry
from dragoman_common.clock import SystemClock
from dragoman_common.errors import DragomanError, InvalidArgumentError
from dragoman_common.server import Service, serve
from dragoman_common.service_keys import ServiceTokenAuthenticator, TrustStore
from dragoman_events.opening import open_log
from dragoman_events.ports import EventLog
from dragoman_models.signing import SigningKey
from dragoman_models.verify import VerifyingKeys
from dragoman_registry import layout
from dragoman_registry.catalog import Catalog
from dragoman_registry.download import Downloads
from dragoman_registry.event_log import EventLogNews, NoNews
from dragoman_registry.evidence_book import EvidenceBook
from dragoman_registry.folder import FolderStore
from dragoman_registry.garbage import Collector
from dragoman_registry.gate_policy import DefaultRules
from dragoman_registry.policy import POLICY
from dragoman_registry.policy_book import PolicyBook
from dragoman_registry.ports import ObjectStore
from dragoman_registry.promotion import Promotion
from dragoman_registry.publish import Publisher
from dragoman_registry.publish_intent import Intents
from dragoman_registry.record_reader import RecordReader
from dragoman_registry.resign import Resigner
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import bucket_from_url
from dragoman_registry.servicer import RegistryServicer, scan_forever
from dragoman_registry.settings import RegistrySettings, store_root
from dragoman_registry.settled import probe
from dragoman_registry.watch import AliasWatch
from dragoman_registry.withdrawal import Withdrawals

logger = logging.getLogger(__name__)


async def run(config: RegistrySettings) -> None:
    """Serve until asked to stop.

    Raises:
        DragomanError: a key, the store or the event log cannot be used.
    """
    key = SigningKey.load(config.signing_key_file)
    trusted = trusted_keys(config, key)
    store = open_store(config)
    log = open_log(config.events_url) if config.events_url else None
    try:
        await probe(store, layout.PROBE)
        servicer, catalog = assemble(config, store=store, key=key, trusted=trusted, log=log)
        # Before the first call: a follower's snapshot must never be empty only because the scan is not over.
        await catalog.scan()
        if config.resign_at_start:
            await resigner(store=store, key=key, trusted=trusted, catalog=catalog).run()
        await serve(
            [Service(register=registry_pb2_grpc.add_RegistryServiceServicer_to_server, servicer=servicer)],
            config.server,
            authenticator=ServiceTokenAuthenticator(TrustStore.load(config.server.trust_file), audience="registry"),
            policy=POLICY,
            background=[scan_forever(catalog, config.scan_period_s)],
        )
    finally:
        if log:
            log.close()
        store.close()


def resigner(*, store: ObjectStore, key: SigningKey, trusted: VerifyingKeys, catalog: Catalog) -> Resigner:
    """Build what signs again, on a store."""
    policies = PolicyBook(store=store, keys=trusted, catalog=catalog, key=key, clock=SystemClock())
    reader = RecordReader(store, trusted)
    return Resigner(store=store, reader=reader, catalog=catalog, policies=policies, key=key)


def open_store(config: RegistrySettings) -> FolderStore | S3Store:
    """Return the store that the settings name; on S3 nothing has been asked of it yet.

    Raises:
        DragomanError: the URL or a setting does not hold, or the folder cannot be made.
    """
    if config.store_url.startswith("s3://"):
        return S3Store(bucket_from_url(config.store_url), config.s3)
    return FolderStore(store_root(config.store_url))


def trusted_keys(config: RegistrySettings, key: SigningKey) -> VerifyingKeys:
    """Return the keys whose records count.

    Raises:
        InvalidArgumentError: the signing key is not among them, so the registry would refuse its own writes.
    """
    if config.verifying_keys_file is None:
        return VerifyingKeys([key.public_key])
    trusted = VerifyingKeys.load(config.verifying_keys_file)
    if trusted.signer("probe", b"probe", key.sign("probe", b"probe")) is None:
        raise InvalidArgumentError(f"{config.verifying_keys_file.name} does not hold the signing key's public key")
    if key.key_id not in trusted.counting_ids:
        raise InvalidArgumentError(f"{config.verifying_keys_file.name} has revoked the signing key")
    return trusted


def assemble(
    config: RegistrySettings, *, store: ObjectStore, key: SigningKey, trusted: VerifyingKeys, log: EventLog | None
) -> tuple[RegistryServicer, Catalog]:
    """Build the service on a store."""
    clock = SystemClock()
    watch = AliasWatch()
    reader = RecordReader(store, trusted)
    catalog = Catalog(store=store, reader=reader, watch=watch)
    news = EventLogNews(log) if log else NoNews()
    policies = PolicyBook(store=store, keys=trusted, catalog=catalog, key=key, clock=clock)
    defaults = DefaultRules(
        trial_aliases=frozenset(config.trial_aliases), ungated_aliases=frozenset(config.ungated_aliases)
    )
    promotion = Promotion(
        store=store,
        reader=reader,
        catalog=catalog,
        key=key,
        news=news,
        clock=clock,
        policies=policies,
        defaults=defaults,
    )
    servicer = RegistryServicer(
        settings=config,
        catalog=catalog,
        publisher=Publisher(
            store=store,
            reader=reader,
            catalog=catalog,
            key=key,
            news=news,
            clock=clock,
            intents=Intents(store=store, clock=clock, lifetime_s=config.intent_lifetime_s),
        ),
        promotion=promotion,
        downloads=Downloads(store),
        evidence=EvidenceBook(store=store, reader=reader, catalog=catalog, key=key, clock=clock),
        policies=policies,
        collector=Collector(
            store=store,
            catalog=catalog,
            clock=clock,
            wait_s=config.gc_wait_s,
            rollback_window_s=config.rollback_window_s,
            intent_lifetime_s=config.intent_lifetime_s,
        ),
        withdrawals=Withdrawals(store=store, catalog=catalog, key=key, clock=clock, take_back=promotion.take_back),
        watch=watch,
    )
    return servicer, catalog


def main() -> None:
    """Read the settings, serve, and say in one line why not."""
    config = settings.load(RegistrySettings, os.environ, prefix="DRAGOMAN_REGISTRY_")
    logs.configure("registry", config.server.log_level)
    telemetry.configure("registry", config.server.otlp_endpoint)
    try:
        asyncio.run(run(config))
    except DragomanError as error:
        logger.critical("cannot run", extra={"error": str(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
