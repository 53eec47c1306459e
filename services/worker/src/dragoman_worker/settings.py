# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a worker can be told, from DRAGOMAN_WORKER_* variables. Read once, in __main__."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from dragoman_common.server import ServerSettings
from dragoman_models.device import AUTO, check_choice
from dragoman_models.key_following import check_period
from dragoman_worker.followed_models import FollowedModels

POOL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MAX_BATCH_SIZE = 4_096
MAX_BATCH_TOKENS = 1 << 22
"""Both: what a frame to a model process may hold (process_messages.MAX_ROWS, frames.MAX_PAYLOAD_BYTES)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """See each field."""

    server: ServerSettings
    registry_target: str
    """host:port of the registry."""
    cache_folder: Path
    """Model files by content; workers on one machine share it by naming the same folder."""
    registry_keys_file: Path
    """Whose signatures on versions and aliases count: PEM public keys, or a chain of key lists."""
    models: tuple[str, ...] = ("*",)
    """Patterns of tenant/model, comma-separated: the worker follows and loads only these."""
    pool: str = "default"
    """The pool that it belongs to, for its metrics and log lines."""
    key_list_file: Path | None = None
    """Where the newest key list of the registry is kept, so that a restart does not go back behind it."""
    key_list_period_s: float = 60.0
    """How often the registry is asked for its key list, a quarter more or less: 5 to 3600."""
    file_url_ca_file: Path | None = None
    """PEM authorities for the TLS certificate of the store that file URLs lead to, beside the system's."""
    max_cache_bytes: int = 20 * 1024**3
    """The cache's bound, for all workers that share it; versions in use beyond it fail to load."""
    max_loaded_versions: int = 32
    """Versions held at once, those that load and drain counted: each is a process with its model's memory. A promotion
    needs a place beside the version that it replaces."""
    max_concurrent_loads: int = 2
    """Versions that are fetched, checked and warmed at once; the others wait. Restarts do not wait."""
    device: str = AUTO
    """What model processes compute on: `cpu`; `cuda`, where a version on torch is FAILED if there is no such device; or
    `auto`, which takes CUDA where torch sees a device. Linear models compute on the CPU in any case."""
    num_threads: int | None = None
    """Compute threads of each model process; unset: all cores but one, at least one."""
    max_batch_size: int = 64
    """Rows run together: throughput against the latency of the rows that wait for them."""
    max_batch_tokens: int = 16_384
    """Rows times the longest row of a batch: bounds a batch's time and memory."""
    max_wait_ms: float = 10.0
    """How long a row may wait for company while the device is busy; an idle device never waits."""
    min_remaining_ms: float = 2.0
    """A row whose caller has less time left than this is dropped when its batch forms."""
    max_waiting_requests: int = 800
    """Calls that one version may have under way; one more is refused with a retry delay."""
    max_waiting_tokens: int = 400_000
    """Tokens of those calls."""
    max_tenant_share: float = 0.8
    """The part of both that one tenant may take."""
    max_rows_per_call: int = 1_024
    """Rows of one ModelInfer call."""
    max_tokens_per_call: int = 131_072
    """Tokens of one ModelInfer call."""
    max_batch_ms: float = 30_000.0
    """A batch that runs longer has hung: its process is ended and started again."""
    load_timeout_s: float = 300.0
    """A process that has not loaded and warmed up by then is ended."""
    max_restart_delay_ms: float = 5_000.0
    """Longest pause between two starts of a process that does not come up."""
    drain_linger_ms: float = 2_000.0
    """How long a version that leaves still takes calls, until every gateway has heard of it."""
    first_load_retry_ms: float = 1_000.0
    """Pause before the second retry of a load or a watch; the first is at once."""
    max_load_retry_ms: float = 30_000.0
    """Longest pause between two such attempts."""
    heartbeat_period_ms: float = 1_000.0
    """WatchLoaded says something at least this often."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        FollowedModels(self.models)
        if not POOL_NAME.fullmatch(self.pool):
            raise ValueError("POOL: 1 to 63 lower-case letters, digits and dashes, letters or digits at both ends")
        check_period(self.key_list_period_s, name="KEY_LIST_PERIOD_S")
        check_choice(self.device)
        for name in (
            "max_loaded_versions",
            "max_concurrent_loads",
            "max_batch_size",
            "max_batch_tokens",
            "max_waiting_requests",
            "max_waiting_tokens",
            "max_rows_per_call",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.upper()}: must be at least 1")
        if not 0 < self.max_tenant_share <= 1:
            raise ValueError("MAX_TENANT_SHARE: must be over 0 and at most 1")
        if self.num_threads is not None and self.num_threads < 1:
            raise ValueError("NUM_THREADS: must be at least 1")
        for name, limit in (("max_batch_size", MAX_BATCH_SIZE), ("max_batch_tokens", MAX_BATCH_TOKENS)):
            if getattr(self, name) > limit:
                raise ValueError(f"{name.upper()}: at most {limit}")

    @property
    def compute_threads(self) -> int:
        """Compute threads of each model process: one core is left for the front."""
        return self.num_threads or max(1, len(os.sched_getaffinity(0)) - 1)
