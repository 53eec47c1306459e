# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the worker's domain needs from outside: a registry to follow, and processes that run models.

Owns the protocols, the values that cross them and the failures they document. Adapters: registry_client.py,
process_runner.py; fakes: memory.py.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from dragoman_common.errors import UnavailableError
from dragoman_models.gate_basis import LostEvent
from dragoman_worker.request import Scores, TokenIds


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFiles:
    """A folder that holds exactly these files, with these digests.

    Attributes:
        blake3_by_path: Of the same files, or empty; where it is there it is what a load checks.
        architecture: What the manifest says that they are: a hint on what to have ready, never on what to run.
    """

    folder: Path
    sha256_by_path: Mapping[str, str]
    blake3_by_path: Mapping[str, str] = field(default_factory=dict)
    architecture: str = ""


AliasKey: TypeAlias = tuple[str, str, str]
"""Tenant, model, alias."""

SeenEvent: TypeAlias = LostEvent
"""An event that was seen, as the one that accepts its loss would name it."""


class FileUrlError(UnavailableError):
    """The store did not give a file by its URL. The text never holds the URL."""


class ModelFailedError(RuntimeError):
    """The model raised something that is nobody's argument: a bug in it, or in us. Callers see INTERNAL."""


class RunnerEndedError(Exception):
    """The model's process has ended, or was ended because it hung.

    Attributes:
        is_own_doing: It ended by a fault inside (a crash, an exit), not by a signal that somebody sent or since its
            device failed. A process that the kernel killed for its memory cannot be told from one that an operator
            killed.
        num_begun: How many of the batches that it had not answered, oldest first, it had begun.
    """

    def __init__(self, reason: str, *, is_own_doing: bool, num_begun: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_own_doing = is_own_doing
        self.num_begun = num_begun


class ModelRunner(Protocol):
    """A loaded and warmed model. Batches run one at a time, in the order in which they were given."""

    @property
    def num_labels(self) -> int:
        """C, the width of the score rows."""
        ...

    async def score(self, rows: Sequence[TokenIds]) -> Scores:
        """Return scores_BC, one row per row of ids.

        Raises:
            InvalidArgumentError: the model refuses a row; the runner lives on.
            ModelFailedError: the model failed on this batch; the runner lives on.
            RunnerEndedError: it ended before it answered.
        """
        ...

    async def wait_ended(self) -> RunnerEndedError:
        """Wait until the runner is gone, and return why."""
        ...

    async def close(self, reason: str = "closed") -> None:
        """End it, if it still runs; what it was asked fails with RunnerEndedError. All its memory is given back."""
        ...


class ModelLauncher(Protocol):
    """Starts runners."""

    async def launch(self, files: ModelFiles) -> ModelRunner:
        """Start a runner, let it check, load and warm up.

        Raises:
            DataLossError: a file is not what its digest says, is missing, or is not listed.
            InvalidArgumentError: the files are intact and are no model that this worker can run.
            ModelFailedError: loading raised something else.
            RunnerEndedError: it ended, or took too long.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasUpdate:
    """One message of a watch. Everything but the envelope is unsigned: it may be shown, and decides nothing.

    Attributes:
        envelope: The signed event; empty in a message without one.
        held_sequence: Set where the registry has less of the alias than the watch said was seen, or another event in
            that place: its newest, or 0.
        is_snapshot_complete: Every alias that existed when the watch began has been sent.
    """

    tenant: str = ""
    model: str = ""
    alias: str = ""
    stable_version: int = 0
    envelope: bytes = b""
    held_sequence: int | None = None
    is_snapshot_complete: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionEnvelopes:
    """What is signed about a version.

    Attributes:
        manifest: Its manifest.
        tombstone: The word that it is withdrawn; None where there is none.
    """

    manifest: bytes
    tombstone: bytes | None = None


class Registry(Protocol):
    """Where placement comes from. While it is away, calls fail with UnavailableError or DeadlineExceededError."""

    def watch_aliases(self, seen: Mapping[AliasKey, SeenEvent]) -> AsyncGenerator[AliasUpdate, None]:
        """The aliases of every tenant; ends or fails when the stream breaks.

        First, of each alias in seen, every event after that one, or that there is less or another; of the others the
        newest event; then each new one.
        """
        ...

    def events_since_loss(self, tenant: str, model: str, alias: str, lost: SeenEvent) -> AsyncIterator[bytes]:
        """The signed events of an alias from the one on that says that it accepts this loss; none where none says so.

        Raises:
            NotFoundError: there is no such alias.
            DataLossError: its chain is not whole.
        """
        ...

    async def key_list(self) -> bytes:
        """Return the chain of key lists, unverified.

        Raises:
            NotFoundError, UnimplementedError: the registry has none.
        """
        ...

    async def alias_envelope(self, tenant: str, model: str, alias: str, sequence: int) -> bytes:
        """Return the signed event that is at this place of an alias's chain.

        Raises:
            NotFoundError: there is no such alias, or no such event of it.
        """
        ...

    async def version(self, tenant: str, model: str, number: int) -> VersionEnvelopes:
        """Return what is signed about a version.

        Raises:
            NotFoundError: there is no such version.
        """
        ...

    def download(self, tenant: str, model: str, number: int, path: str, offset_bytes: int) -> AsyncIterator[bytes]:
        """The bytes of one file from an offset on.

        Raises:
            NotFoundError: there is no such file.
        """
        ...

    async def pull(
        self,
        tenant: str,
        model: str,
        number: int,
        path: str,
        *,
        first_byte: int,
        size_bytes: int,
        append: Callable[[memoryview], None],
    ) -> bool:
        """Read one file past the registry, from the store's own URL for it, where the store has such URLs.

        Args:
            tenant: Whose.
            model: The model.
            number: The version.
            path: The file.
            first_byte: Where to begin.
            size_bytes: Of the whole file.
            append: Takes the next bytes, in a thread; they are valid until it returns. What it raises is raised.

        Returns:
            False where the store has no URLs: nothing was read. True when all was.

        Raises:
            FileUrlError: the URL does not lead to all of it. What append was given is to be kept.
            NotFoundError: there is no such file.
        """
        ...
