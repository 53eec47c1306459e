# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of the tokenizer service, read from DRAGOMAN_TOKENIZER_*."""

from dataclasses import dataclass
from pathlib import Path

from dragoman_common.server import ServerSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that can be set; README.md has the table."""

    server: ServerSettings
    registry_target: str
    """host:port of the registry."""
    registry_keys_file: Path
    """PEM: the public keys whose signatures over versions count."""
    max_rows_per_call: int = 256
    """Texts in one call; more make a call hold a thread for longer, fewer make callers send more calls."""
    max_tokens_per_call: int = 524_288
    """Token ids in one call, both ways; keeps the reply below the message limit."""
    cache_bytes: int = 32 * 1024 * 1024
    """Tokenizer files kept loaded, and the largest that is loaded at all; memory in use is about 20 times this."""
    cache_versions: int = 10_000
    """Versions whose limits and digests are remembered, about 1 kB each."""
    load_timeout_ms: int = 10_000
    """How long fetching, verifying and loading one tokenizer may take before its callers get UNAVAILABLE."""
    num_threads: int = 2
    """Threads that encode and load; more than cores only add waiting inside."""

    def __post_init__(self) -> None:
        """Refuse numbers that would serve nobody."""
        for name in (
            "max_rows_per_call",
            "max_tokens_per_call",
            "cache_bytes",
            "cache_versions",
            "load_timeout_ms",
            "num_threads",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
