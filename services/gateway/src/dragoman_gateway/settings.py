# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the gateway can be told, read from DRAGOMAN_GATEWAY_* in `__main__`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dragoman_common.endpoint import Endpoint, parse_endpoint
from dragoman_common.server import ServerSettings
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_gateway.durability import Durabilities
from dragoman_gateway.targets import PoolModels, WorkerTarget, parse_worker_targets
from dragoman_models.key_following import check_period

MAX_LEEWAY_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayServerSettings(ServerSettings):
    """Every service's settings; only where to listen is fixed here, because clients have to know it."""

    listen: str = "127.0.0.1:9000"
    """host:port of the gRPC side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    server: GatewayServerSettings
    """The gRPC side."""
    http_listen: str = "127.0.0.1:8080"
    """host:port of the HTTP side: health and OIP v2 REST. Port 0 takes a free one, which the HTTP ready file names."""
    http_ready_file: Path | None = None
    """Written when the HTTP port is bound: a JSON object with port and pid."""
    registry_target: str
    """host:port of the registry."""
    registry_keys_file: Path
    """Whose signatures over versions and alias events count: PEM public keys, or a chain of key lists."""
    key_list_file: Path | None = None
    """Where the newest key list of the registry is kept, so that a restart does not go back behind it."""
    key_list_period_s: int = 60
    """How often the registry is asked for its key list, a quarter more or less: 5 to 3600."""
    tokenizer_target: str
    """host:port of the tokenizer; calls are spread over every address that the name has."""
    worker_targets: tuple[str, ...]
    """[pool=]host:port of the workers, comma-separated; every address that a host name has is a worker of its own. The
    pool is `default` where none is named."""
    pool_models: tuple[str, ...] = ()
    """pool=pattern, comma-separated: which pool is to hold a model, and so for which pool a call waits that no worker
    can answer. Patterns are of tenant/model (`*`, `?`, `[...]`), as the pool's workers have them; a pool may be named
    repeatedly, and one that is not takes everything."""
    autoscaler_target: str = ""
    """host:port of the autoscaler, which is told which calls wait for a worker, at every address that its name has.
    Empty: there is none, and workers are started by other means."""
    max_held_calls: int = 500
    """Calls that may wait for a worker at once; one more is RESOURCE_EXHAUSTED with a retry delay. The first worker to
    be ready gets all of them, so no more than one takes."""
    events_url: str
    """Where prediction and feedback events go: sqlite:///var/lib/dragoman/events.db, or kafka://host:port,host:port."""
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    """How to talk to the brokers of a kafka:// log."""
    user_jwks_file: Path
    """A JWKS file: the public keys that end users' tokens may be signed with. Read once, at start."""
    user_issuer: str = "dragoman-laptop"
    """The iss that users' tokens must have."""
    user_audience: str = "dragoman-gateway"
    """The aud that users' tokens must have."""
    user_max_lifetime_s: int = 7 * 24 * 3600
    """The longest exp - iat of a user's token: shorter bounds what a stolen one is worth."""
    user_leeway_s: int = 30
    """How far clocks may differ, at most 60."""
    max_rows: int = 256
    """Rows of text in one call: more make fewer calls, and longer ones that others wait behind."""
    max_text_bytes: int = 65_536
    """One row of text; a model's own limit may be lower."""
    max_call_tokens: int = 131_072
    """Tokens of all rows of one call: no more than the workers' own limit."""
    max_concurrent_calls: int = 1_000
    """Predictions at once on both ports together; one more is RESOURCE_EXHAUSTED with a retry delay."""
    max_pending_events: int = 100_000
    """Events that may wait for the log before calls are refused: bounds memory while the log is slow."""
    event_durability: str = "acked"
    """What OK promises about a call's events: acked, spooled or sampled:N. On an event log that is a local file, acked
    is a local sync already, and spooled writes everything twice."""
    event_durability_tenants: tuple[str, ...] = ()
    """tenant=mode, comma-separated: tenants that chose another."""
    spool_folder: Path | None = None
    """Where events wait on the local disk; this gateway's alone. Without it there is only acked, and no call is
    answered while the event log is away."""
    spool_max_events: int = 1_000_000
    """Events that may wait on disk, about 1 kB each; beyond, calls are RESOURCE_EXHAUSTED with a retry delay."""
    event_ack_timeout_ms: int = 2_000
    """How long a call waits for the event log to acknowledge before its events go to the spool."""
    max_recent_calls: int = 100_000
    """Answered calls that feedback is checked against, about 300 bytes each; older ones are the monitor's to judge."""
    max_hold_ms: int = 10_000
    """How long a call may wait for its version to become ready at a worker before it is UNAVAILABLE."""
    http_deadline_ms: int = 30_000
    """The deadline of an HTTP call, which brings none of its own."""
    http_max_connections: int = 1_000
    """HTTP connections at once, idle ones too; one more gets 503 and is closed."""
    http_max_calls: int = 256
    """HTTP calls at once whose body is read or answered: bounds the memory of bodies. One more gets 429."""
    http_read_timeout_ms: int = 15_000
    """How long a connection may take to send a request's head, and again for its body, and for taking the answer; also
    the life of an idle connection."""
    tokenizer_timeout_ms: int = 5_000
    """The longest wait for the tokenizer within a call."""
    worker_timeout_ms: int = 30_000
    """The longest wait for a worker within a call."""

    def __post_init__(self) -> None:
        check_period(self.key_list_period_s, name="KEY_LIST_PERIOD_S")
        if not 0 <= self.user_leeway_s <= MAX_LEEWAY_S:
            raise ValueError(f"USER_LEEWAY_S must be 0 to {MAX_LEEWAY_S}")
        if not self.worker_targets:
            raise ValueError("WORKER_TARGETS names no worker")
        for name in ("tokenizer", "workers", "pools", "autoscaler"):
            getattr(self, name)
        if self.durabilities.need_spool and self.spool_folder is None:
            raise ValueError("SPOOL_FOLDER must be set: a tenant's events are spooled or sampled, which needs it")
        for name in (
            "max_rows",
            "max_text_bytes",
            "max_call_tokens",
            "max_concurrent_calls",
            "max_pending_events",
            "max_recent_calls",
            "spool_max_events",
            "event_ack_timeout_ms",
            "max_hold_ms",
            "max_held_calls",
            "user_max_lifetime_s",
            "http_deadline_ms",
            "http_max_connections",
            "http_max_calls",
            "http_read_timeout_ms",
            "tokenizer_timeout_ms",
            "worker_timeout_ms",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.upper()} must be at least 1")

    @property
    def tokenizer(self) -> Endpoint:
        """Where the tokenizers are.

        Raises:
            ValueError: the target does not parse.
        """
        with _named("TOKENIZER_TARGET"):
            return parse_endpoint(self.tokenizer_target)

    @property
    def workers(self) -> tuple[WorkerTarget, ...]:
        """Where workers are looked for.

        Raises:
            ValueError: a target does not parse.
        """
        with _named("WORKER_TARGETS"):
            return parse_worker_targets(self.worker_targets)

    @property
    def pools(self) -> PoolModels:
        """Which pool takes which model.

        Raises:
            ValueError: an item does not parse, or names a pool without workers.
        """
        with _named("POOL_MODELS"):
            return PoolModels(self.workers, self.pool_models)

    @property
    def autoscaler(self) -> Endpoint | None:
        """Where the autoscaler is, if there is one.

        Raises:
            ValueError: the target does not parse.
        """
        with _named("AUTOSCALER_TARGET"):
            return parse_endpoint(self.autoscaler_target) if self.autoscaler_target else None

    @property
    def durabilities(self) -> Durabilities:
        """What each tenant chose.

        Raises:
            ValueError: a mode does not parse.
        """
        for name, items in (("event_durability", ()), ("event_durability_tenants", self.event_durability_tenants)):
            try:
                made = Durabilities(self.event_durability, items)
            except ValueError as error:
                raise ValueError(f"{name.upper()}: {error}") from None
        return made


@contextmanager
def _named(setting: str) -> Iterator[None]:
    """Around what parses a setting: its error names it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from None
