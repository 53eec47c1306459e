# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the launcher can be told, as DRAGOMAN_LAUNCHER_* variables."""

from dataclasses import dataclass, field
from pathlib import Path

from dragoman_common.server import ServerSettings
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_launcher.jobs_url import parse_jobs_url
from dragoman_launcher.quota import Quotas


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherSettings:
    server: ServerSettings
    jobs_dir: Path | None = None
    """Where jobs are kept that run as processes: records, logs, outputs. One launcher works on it at a time. Jobs of a
    cluster are kept in the cluster."""
    data_dir: Path | None = None
    """Where the data sets of processes lie, a folder each; pods have theirs from the data_claim of jobs_url."""
    events_url: str
    """The event log: sqlite:///absolute/path/events.db, or kafka://host:port,host:port."""
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    """How to talk to the brokers of a kafka:// log."""
    registry_target: str
    """host:port at which jobs reach the registry."""
    jobs_url: str = "process://"
    """Where jobs run: processes of this machine, or kubernetes://namespace?image=...; its keys are in jobs_url.py."""
    advertised_target: str = ""
    """host:port at which jobs reach this launcher; empty: the port that it listens on, on the loopback address.
    A job that outlives its launcher reports again only if the next one listens there too."""
    command: tuple[str, ...] = ()
    """The trainer, comma-separated; empty: `python -P -m dragoman_trainer` of this interpreter, or what a pod's image
    starts."""
    checkpoint_interval_s: float = 60.0
    """How often a job saves its state in the store, in seconds, for a pod that follows a lost one; 0: never."""
    max_running: int = 1
    """Jobs at once. More share the cores: each gets slower and none gets done sooner."""
    max_pending: int = 100
    """Jobs that may wait; one more is RESOURCE_EXHAUSTED."""
    tenant_quotas: tuple[str, ...] = ()
    """What one tenant may have: tenant=running:2;pending:10;gpus:4, comma-separated, each part may be missing; * is any
    tenant that is not named. A job over `running` or `gpus` waits, one over `pending` is RESOURCE_EXHAUSTED."""
    max_jobs: int = 10_000
    """Jobs that are kept, ended ones included: memory and listing cost grow with it."""
    max_job_s: int = 86_400
    """A job's longest life in seconds, and its token's: at most 6 days."""
    max_log_bytes: int = 256 * 1024 * 1024
    """A job that writes more log is stopped: it fills the disk for everybody."""
    max_recipe_bytes: int = 64 * 1024
    """Longest recipe in bytes."""
    cancel_grace_ms: int = 10_000
    """How long a job may take to stop after SIGTERM before it is killed."""
    check_timeout_ms: int = 30_000
    """How long the trainer may take to check a recipe; on a cold disk most of it is loading Python modules."""

    def __post_init__(self) -> None:
        for name in ("max_running", "max_pending", "max_jobs", "max_job_s", "max_log_bytes", "max_recipe_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name in ("cancel_grace_ms", "check_timeout_ms", "checkpoint_interval_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        Quotas.parse(self.tenant_quotas)
        if self.server.listen.endswith(":0") and self.server.ready_file is None and not self.advertised_target:
            raise ValueError("with a port of 0, set ready_file or advertised_target: jobs must be told where to report")
        if parse_jobs_url(self.jobs_url) is None and (self.jobs_dir is None or self.data_dir is None):
            raise ValueError(
                "with jobs_url=process://, set jobs_dir (where jobs are kept) and data_dir (their data sets)"
            )
        if parse_jobs_url(self.jobs_url) is not None and not self.advertised_target:
            raise ValueError("with jobs_url=kubernetes://, set advertised_target: a pod has another loopback")
        if self.max_job_s > 6 * 86_400:
            raise ValueError("max_job_s must be at most 6 days (518400): a job's token lives no longer than a week")
