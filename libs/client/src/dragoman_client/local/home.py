# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where the platform of one laptop keeps its things: paths below $DRAGOMAN_HOME, and nothing about their content."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dragoman_common.errors import FailedPreconditionError, InvalidArgumentError


@dataclass(frozen=True, slots=True)
class Home:
    """One platform's folder. Two homes are two platforms that know nothing of each other."""

    root: Path

    @classmethod
    def resolve(cls, environ: Mapping[str, str]) -> "Home":
        """$DRAGOMAN_HOME, or dragoman/ in the XDG data folder.

        Raises:
            InvalidArgumentError: the path is no text, or a file.
        """
        if chosen := environ.get("DRAGOMAN_HOME"):
            return cls.at(chosen)
        data = environ.get("XDG_DATA_HOME") or str(_user_folder() / ".local" / "share")
        return cls(_folder("XDG_DATA_HOME", data) / "dragoman")

    @classmethod
    def at(cls, path: str) -> "Home":
        """The platform of a folder that the user named.

        Raises:
            InvalidArgumentError: the path is empty, no text, or a file.
        """
        return cls(_folder("the home (--home, DRAGOMAN_HOME)", path))

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
    def spool(self) -> Path:
        """Events of the gateway that wait for the event log."""
        return self.root / "spool"

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
    def parts_file(self) -> Path:
        """Which real parts the platform runs on; absent where it runs on files."""
        return self.root / "parts.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "supervisor.lock"

    def ready_file(self, service: str) -> Path:
        return self.run / f"{service}.ready"

    def log_file(self, service: str) -> Path:
        return self.logs / f"{service}.log"


def data_cache(environ: Mapping[str, str]) -> Path:
    """Where data sets are kept: $DRAGOMAN_CACHE, or dragoman/ in the XDG cache folder.

    Raises:
        InvalidArgumentError: the path is no text, or a file.
    """
    if chosen := environ.get("DRAGOMAN_CACHE"):
        return _folder("DRAGOMAN_CACHE", chosen)
    return _folder("XDG_CACHE_HOME", environ.get("XDG_CACHE_HOME") or str(_user_folder() / ".cache")) / "dragoman"


def _folder(name: str, path: str) -> Path:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{name} is a path that is not UTF-8; choose another") from None
    if not path or "\0" in path:
        raise InvalidArgumentError(f"{name} is no path; choose another")
    folder = Path(path).absolute()
    if folder.exists() and not folder.is_dir():
        raise InvalidArgumentError(f"{folder}, {name}, is a file, must be a folder or a path that is free")
    return folder


def _user_folder() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise FailedPreconditionError("this user has no home folder; set DRAGOMAN_HOME and DRAGOMAN_CACHE") from None
