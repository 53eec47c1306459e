# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where the platform of one laptop keeps its things: paths below $DRAGOMAN_HOME, and nothing about their content."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Home:
    """One platform's folder. Two homes are two platforms that know nothing of each other."""

    root: Path

    @classmethod
    def resolve(cls, environ: Mapping[str, str]) -> "Home":
        """$DRAGOMAN_HOME, or dragoman/ in the XDG data folder."""
        if chosen := environ.get("DRAGOMAN_HOME"):
            return cls(Path(chosen).absolute())
        data = Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
        return cls(data.absolute() / "dragoman")

    def create(self) -> None:
        """Make the folders, closed to other users: keys, models and jobs are the owner's alone."""
        for folder in (self.root, self.keys, self.store, self.jobs, self.cache, self.run, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def events(self) -> Path:
        return self.root / "events.db"

    @property
    def events_url(self) -> str:
        return f"sqlite://{quote(str(self.events))}"

    @property
    def store_url(self) -> str:
        return f"file://{quote(str(self.store))}"

    @property
    def monitor_url(self) -> str:
        return f"sqlite://{quote(str(self.monitor))}"

    @property
    def monitor(self) -> Path:
        return self.root / "monitor.db"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def state_file(self) -> Path:
        return self.run / "state.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "supervisor.lock"

    def ready_file(self, service: str) -> Path:
        return self.run / f"{service}.ready"

    def log_file(self, service: str) -> Path:
        return self.logs / f"{service}.log"


def data_cache(environ: Mapping[str, str]) -> Path:
    """Where data sets are kept: $DRAGOMAN_CACHE, or dragoman/ in the XDG cache folder."""
    if chosen := environ.get("DRAGOMAN_CACHE"):
        return Path(chosen).absolute()
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "dragoman"
