# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of the tokenizer service, read from DRAGOMAN_TOKENIZER_*."""

from dataclasses import dataclass
from pathlib import Path

from dragoman_common.server import ServerSettings
from dragoman_models.key_following import check_period


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that can be set; README.md has the table."""

    server: ServerSettings
    registry_target: str
    """host:port of the registry."""
    registry_keys_file: Path
    """Whose signatures over versions count: PEM public keys, or a chain of key lists."""
    key_list_file: Path | None = None
    """Where the newest key list of the registry is kept, so that a restart does not go back behind it."""
    key_list_period_s: int = 60
    """How often the registry is asked for its key list, a quarter more or less: 5 to 3600."""
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
        check_period(self.key_list_period_s, name="KEY_LIST_PERIOD_S")
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
