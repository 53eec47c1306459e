# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Wiring of the tokenizer service: settings -> registry channel -> tokenizers -> server."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from dragoman.tokenizer.v1.tokenizer_pb2_grpc import add_TokenizerServiceServicer_to_server
from dragoman_common import logs, settings, telemetry
from dragoman_common.audit import Audit
from dragoman_common.channel import connect
from dragoman_common.server import Service, serve
from dragoman_common.service_keys import KeyTokens, ServiceKey, ServiceTokenAuthenticator, TrustStore
from dragoman_models.key_following import KeyFollower, load_keys
from dragoman_tokenizer.encoding import CallLimits
from dragoman_tokenizer.registry_client import RegistryVersionSource
from dragoman_tokenizer.servicer import POLICY, TokenizerServicer
from dragoman_tokenizer.settings import Settings
from dragoman_tokenizer.version_tokenizers import VersionTokenizers


async def run(config: Settings) -> None:
    """Serve until SIGTERM."""
    channel = connect(
        config.registry_target,
        audience="registry",
        tokens=KeyTokens(ServiceKey.load(config.server.key_file)),
        default_deadline_ms=config.load_timeout_ms,
        max_message_bytes=config.server.max_message_bytes,
        tls=config.server.tls.channels(),
    )
    audit = Audit("tokenizer")
    keys = await asyncio.to_thread(load_keys, config.registry_keys_file, config.key_list_file, audit)
    source = RegistryVersionSource(channel, keys)
    with ThreadPoolExecutor(config.num_threads, thread_name_prefix="encode") as executor:
        tokenizers = VersionTokenizers(
            source,
            executor,
            max_cached_bytes=config.cache_bytes,
            max_cached_versions=config.cache_versions,
            load_timeout_s=config.load_timeout_ms / 1e3,
        )
        key_follower = KeyFollower(
            keys,
            source.key_list,
            audit=audit,
            on_newer=tokenizers.keys_are_newer,
            period_s=config.key_list_period_s,
            kept=config.key_list_file,
        )
        limits = CallLimits(max_rows=config.max_rows_per_call, max_tokens=config.max_tokens_per_call)
        service = Service(
            register=add_TokenizerServiceServicer_to_server,
            servicer=TokenizerServicer(tokenizers, executor, limits),
        )
        authenticator = ServiceTokenAuthenticator(TrustStore.load(config.server.trust_file), audience="tokenizer")
        try:
            await serve(
                [service],
                config.server,
                authenticator=authenticator,
                policy=POLICY,
                background=[key_follower.run()],
                on_drain=tokenizers.close,
            )
        finally:
            await channel.close()


def main() -> None:
    """Entry point: `python -m dragoman_tokenizer`."""
    config = settings.load(Settings, os.environ, prefix="DRAGOMAN_TOKENIZER_")
    logs.configure("tokenizer", config.server.log_level)
    telemetry.configure("tokenizer", config.server.otlp_endpoint, config.server.metrics_listen)
    asyncio.run(run(config))


if __name__ == "__main__":
    main()
