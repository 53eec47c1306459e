# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry's process: the only file that names adapters."""

import asyncio
import gc
import hashlib
import logging
import os
import sys
from dataclasses import dataclass

from dragoman.registry.v1 import data_pb2_grpc, registry_pb2_grpc
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
from dragoman_registry.chain_repair import ChainRepairs
from dragoman_registry.checkpoint_book import CheckpointBook
from dragoman_registry.data_book import DataBook
from dragoman_registry.data_servicer import DATA_POLICY, DataServicer
from dragoman_registry.download import Downloads
from dragoman_registry.event_log import EventLogNews, NoNews
from dragoman_registry.event_wake import EventWake
from dragoman_registry.evidence_book import EvidenceBook
from dragoman_registry.folder import FolderStore
from dragoman_registry.garbage import Collector
from dragoman_registry.garbage_background import collect_forever
from dragoman_registry.gate_policy import DefaultRules
from dragoman_registry.head_copies import HeadCopies
from dragoman_registry.headed_reader import HeadedReader
from dragoman_registry.heads import Heads
from dragoman_registry.policy import POLICY
from dragoman_registry.policy_book import PolicyBook
from dragoman_registry.ports import ObjectStore
from dragoman_registry.promotion import Promotion
from dragoman_registry.publish import Publisher
from dragoman_registry.publish_intent import Intents
from dragoman_registry.resign import Resigner
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import bucket_from_url
from dragoman_registry.servicer import RegistryServicer
from dragoman_registry.settings import RegistrySettings, store_root
from dragoman_registry.settled import probe
from dragoman_registry.upkeep import KeyFile, Upkeep
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
    log = open_log(config.events_url, config.kafka) if config.events_url else None
    try:
        await probe(store, layout.PROBE)
        service = assemble(config, store=store, key=key, trusted=trusted, log=log)
        # Before the first call: a follower's snapshot must never be empty only because the scan is not over.
        await service.upkeep.begin()
        # What was read now stays: Python's collector would walk all of it again and again, 0.2 s at a time.
        gc.freeze()
        if config.resign_at_start:
            await service.resigner.run()
        await serve(
            [
                Service(register=registry_pb2_grpc.add_RegistryServiceServicer_to_server, servicer=service.servicer),
                Service(register=data_pb2_grpc.add_DataServiceServicer_to_server, servicer=service.data_servicer),
            ],
            config.server,
            authenticator=ServiceTokenAuthenticator(TrustStore.load(config.server.trust_file), audience="registry"),
            policy={**POLICY, **DATA_POLICY},
            background=[
                service.upkeep.run(config.scan_period_s),
                collect_forever(service.collector, config.gc_period_s),
                *([EventWake(log, service.catalog).run()] if log else []),
            ],
        )
    finally:
        if log:
            log.close()
        store.close()


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


def head_copies(config: RegistrySettings, trusted: VerifyingKeys) -> HeadCopies | None:
    """Return the copies of this store's heads, if a folder for them is set.

    Raises:
        InvalidArgumentError: the folder cannot be used.
    """
    if config.state_folder is None:
        return None
    # A store of its own for each: what another store held is not missing in this one.
    store = hashlib.sha256(config.store_url.encode()).hexdigest()[:16]
    return HeadCopies(config.state_folder / "heads" / store, trusted)


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """The service on a store: what answers, and what runs beside."""

    servicer: RegistryServicer
    data_servicer: DataServicer
    catalog: Catalog
    upkeep: Upkeep
    resigner: Resigner
    collector: Collector


def assemble(
    config: RegistrySettings, *, store: ObjectStore, key: SigningKey, trusted: VerifyingKeys, log: EventLog | None
) -> Assembled:
    """Build the service on a store.

    Raises:
        InvalidArgumentError: the state folder cannot be used.
    """
    clock = SystemClock()
    watch = AliasWatch()
    heads = Heads(store=store, keys=trusted, key=key, copies=head_copies(config, trusted))
    reader = HeadedReader(store, trusted, heads)
    catalog = Catalog(store=store, reader=reader, watch=watch)
    news = EventLogNews(log) if log else NoNews()
    policies = PolicyBook(store=store, keys=trusted, catalog=catalog, heads=heads, key=key, clock=clock)
    defaults = DefaultRules(
        trial_aliases=frozenset(config.trial_aliases), ungated_aliases=frozenset(config.ungated_aliases)
    )
    promotion = Promotion(
        store=store,
        reader=reader,
        catalog=catalog,
        heads=heads,
        key=key,
        news=news,
        clock=clock,
        policies=policies,
        defaults=defaults,
    )
    intents = Intents(store=store, clock=clock, lifetime_s=config.intent_lifetime_s)
    data = DataBook(store=store, keys=trusted, key=key, clock=clock, intents=intents)
    collector = Collector(
        store=store,
        data=data,
        keys=trusted,
        catalog=catalog,
        clock=clock,
        wait_s=config.gc_wait_s,
        rollback_window_s=config.rollback_window_s,
        intent_lifetime_s=config.intent_lifetime_s,
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
            intents=intents,
        ),
        promotion=promotion,
        downloads=Downloads(store),
        evidence=EvidenceBook(store=store, reader=reader, catalog=catalog, key=key, clock=clock),
        policies=policies,
        collector=collector,
        withdrawals=Withdrawals(store=store, catalog=catalog, key=key, clock=clock, take_back=promotion.take_back),
        watch=watch,
        repairs=ChainRepairs(
            store=store,
            reader=reader,
            catalog=catalog,
            policies=policies,
            heads=heads,
            keys=trusted,
            key=key,
            clock=clock,
        ),
        keys=trusted,
    )
    key_file = KeyFile(
        config.verifying_keys_file, trusted=trusted, key=key, memories=(reader, policies, heads, catalog)
    )
    checkpoints = CheckpointBook(
        store=store,
        keys=trusted,
        key=key,
        clock=clock,
        lifetime_s=config.checkpoint_lifetime_s,
        max_bytes=config.max_checkpoint_bytes,
    )
    return Assembled(
        servicer=servicer,
        data_servicer=DataServicer(settings=config, data=data, checkpoints=checkpoints, downloads=Downloads(store)),
        catalog=catalog,
        collector=collector,
        upkeep=Upkeep(store=store, catalog=catalog, policies=policies, heads=heads, key_file=key_file),
        resigner=Resigner(
            store=store, reader=reader, catalog=catalog, policies=policies, heads=heads, data=data, key=key
        ),
    )


def main() -> None:
    """Read the settings, serve, and say in one line why not."""
    config = settings.load(RegistrySettings, os.environ, prefix="DRAGOMAN_REGISTRY_")
    logs.configure("registry", config.server.log_level)
    telemetry.configure("registry", config.server.otlp_endpoint, config.server.metrics_listen)
    try:
        asyncio.run(run(config))
    except DragomanError as error:
        logger.critical("cannot run", extra={"error": str(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
