# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a training run needs from outside: who hears its progress, who takes its package, who has its data.

Owns the protocols and what passes through them. Without a platform all are absent and the run is local.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dragoman_models.data_set import StoredName
from dragoman_models.file_digest import FileDigest


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far the run is. Metrics are the newest known value of each; eta_s is None while nothing can be said.

    Attributes:
        stage: ``load``, ``train``, ``evaluate`` or ``publish``.
    """

    stage: str
    epoch: int = 0
    num_epochs: int = 0
    step: int = 0
    num_steps: int = 0
    eta_s: float | None = None
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where a package came from, for the registry's record."""

    recipe: str
    data_sha256: str


@dataclass(frozen=True, slots=True)
class Published:
    """The version that the registry made of a package, or already had."""

    version: int
    root_sha256: str


class JobCancelledError(BaseException):
    """The run's owner asked for it to stop.

    Not a DragomanError: no caller of a service ever meets it. Not an Exception: SIGTERM raises it wherever the run is,
    and logging, for one, keeps every Exception that is raised while it writes a line.
    """


class ProgressReporter(Protocol):
    """Hears about a run."""

    def report(self, progress: Progress) -> None:
        """Pass on the newest progress; losing one report is harmless, so no failure to deliver is raised.

        Raises:
            JobCancelledError: the run is to stop now.
        """
        ...

    def published(self, published: Published) -> None:
        """Say, once, which version the run has published.

        Raises:
            UnavailableError: it could not be delivered within the retries that the adapter makes.
        """
        ...


class Publisher(Protocol):
    """Takes a finished package."""

    def published(self) -> Published | None:
        """Return what an earlier process of the same job has published, None for nothing.

        Raises:
            DragomanError: what the registry answered.
        """
        ...

    def publish(self, package_dir: Path, lineage: Lineage) -> Published:
        """Upload every file of the package as one new version; calling again with the same content adds nothing.

        Where another process of the job has published meanwhile, its version is returned: a job makes one.

        Raises:
            UnavailableError: another process of the job is publishing now; it may fail, so try again later.
            DragomanError: what the registry answered.
        """
        ...


class DataSource(Protocol):
    """Has data sets. Nothing that it says is believed: stored_data checks."""

    def files(self, stored: StoredName) -> tuple[str, Sequence[FileDigest]]:
        """Return the digest of a data set, the newest of the name where none is given, and the list of its files.

        Raises:
            NotFoundError: there is none such.
            DragomanError: what the store answered.
        """
        ...

    def read(self, name: str, sha256: str, file: FileDigest) -> Iterator[bytes]:
        """Yield a file from its start, also over broken connections.

        Raises:
            DragomanError: what the store answered at last.
        """
        ...


class CheckpointStore(Protocol):
    """Keeps the states of one job's run, the newest few."""

    def save(self, step: int, data: bytes) -> None:
        """Keep a state, whole or not at all; one that is there under this step stays.

        Raises:
            DragomanError: it was not kept.
        """
        ...

    def newest(self) -> bytes | None:
        """Return the newest state that is whole, as it was saved; None when there is none.

        Raises:
            UnavailableError: the store does not answer.
        """
        ...

    def drop(self) -> None:
        """Delete all of them.

        Raises:
            DragomanError: some may be left.
        """
        ...
