# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A database that the books can be in: transactions for writers and for readers, and errors in our words.

Owns the two kinds of transaction. sqlite.py and postgres.py make one; sql.py uses it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Engine

WRITES: Final = "writes"
"""The execution option of a transaction that writes. SQLite must know it at the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """An engine, and what must be known beside it."""

    engine: Engine
    where: str
    """For people, without secrets: a file's path, or host and name."""
    translated: Callable[[], AbstractContextManager[None]]
    """Turns the driver's errors inside into ours: UnavailableError, DataLossError, FailedPreconditionError."""
    snapshot_options: Mapping[str, str] = field(default_factory=dict)
    """The execution options with which a reader sees one moment; none where every transaction does."""

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: all of what is inside, or nothing."""
        with self._begun(**{WRITES: True}) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one moment."""
        with self._begun(**self.snapshot_options) as connection:
            yield connection

    def close(self) -> None:
        """Close the connections that nobody uses. Idempotent."""
        self.engine.dispose()

    @contextmanager
    def _begun(self, **options: Any) -> Iterator[Connection]:
        with self.translated(), self.engine.execution_options(**options).connect() as connection, connection.begin():
            yield connection
