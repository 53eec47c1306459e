# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A SQLite file that several processes write and that loses nothing it acknowledged.

Owns how such a file is opened, its transactions and the translation of SQLite's errors; knows no table.

    connect(path, format) -> connection (WAL, synchronous=FULL, busy timeout) -> transaction(connection): all or nothing

Source: sqlite.org "Write-Ahead Logging" and "PRAGMA synchronous": in WAL mode only FULL syncs the log at every commit;
NORMAL may lose the last commits when the machine loses power.
"""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from dragoman_common.errors import DataLossError, FailedPreconditionError, UnavailableError

BUSY_TIMEOUT_S: Final = 10.0
"""How long a writer waits for the other writers; their transactions take milliseconds."""

_RETRY_S: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """What a file holds: kept in its header, so that another program's file, or a newer one, is refused."""

    name: str
    application_id: int
    version: int
    schema: tuple[str, ...]
    """The statements that make the tables of an empty file."""
    upgrades: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Version -> the statements that make the next version of it. Additive only: older processes may have it open."""


def connect(
    path: Path,
    file_format: FileFormat,
    *,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    synchronous: Literal["FULL", "NORMAL"] = "FULL",
) -> sqlite3.Connection:
    """Open the file, making it (readable by its owner only) and its tables where they are missing.

    The connection is in autocommit mode: group statements with ``transaction``. It may change threads; the caller sees
    to it that one thread uses it at a time.

    Args:
        path: the file, in a folder that exists.
        file_format: what the file holds.
        busy_timeout_s: how long a statement waits for other writers.
        synchronous: FULL syncs every commit. NORMAL may lose the last commits, whole and in order, when the machine
            loses power (never when a process dies): for what can be computed again.

    Raises:
        UnavailableError: the folder is missing or not writable, the disk is full, or others hold the file too long.
        FailedPreconditionError: the file is of another format or version.
    """
    with translated(file_format.name, path):
        _create(path, file_format.name)
        connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
        try:
            _set_wal(connection, busy_timeout_s)
            connection.execute(f"PRAGMA synchronous={synchronous}")
            with transaction(connection):
                _prepare(connection, path, file_format)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside, or nothing of it; on disk when the block is left.

    IMMEDIATE takes the write lock first: a transaction that reads and then writes could otherwise fail at the write,
    because another process wrote in between, and no timeout would help.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some failures (a full disk) have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(name: str, path: Path) -> Iterator[None]:
    """Turn SQLite's errors inside into ours; ``name`` says which file in words.

    Raises:
        UnavailableError: busy, full, unreadable: the same call may work later.
        DataLossError: the file is damaged.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UnavailableError(f"The {name} {path} cannot be {_reason(error, path)}") from error
    except sqlite3.DatabaseError as error:
        # NOTADB and CORRUPT arrive as the bare DatabaseError; its subclasses are mistakes of ours.
        if type(error) is not sqlite3.DatabaseError:
            raise
        raise DataLossError(f"The {name} {path} is damaged: {error}.") from error


def _is_full(error: sqlite3.OperationalError, path: Path) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_IOERR:
        # The index of the write-ahead log could not be made: SQLite does not say why.
        with suppress(OSError):
            return shutil.disk_usage(path.parent).free == 0
    return bool(code == sqlite3.SQLITE_FULL)


def _reason(error: sqlite3.OperationalError, path: Path) -> str:
    if _is_full(error, path):
        return (
            f"written: its disk is full, and nothing of this was written. Free space in {path.parent}, or keep less "
            "(retention); then the same call works again, without a restart."
        )
    return f"used now: {error}."


def dump_headers(headers: Mapping[str, bytes]) -> str:
    """Message headers as one JSON object. Bytes that are not UTF-8 survive as the lone surrogates that JSON escapes."""
    return json.dumps({name: value.decode(errors="surrogateescape") for name, value in headers.items()})


def load_headers(text: str) -> dict[str, bytes]:
    """What ``dump_headers`` was given."""
    return {name: value.encode(errors="surrogateescape") for name, value in json.loads(text).items()}


def _create(path: Path, name: str) -> None:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise UnavailableError(f"The {name} {path} cannot be made: {error.strerror}.") from error
    os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _set_wal(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    # The switch to WAL reports "locked" at once, whatever the timeout, when two processes open a new file together.
    deadline_s = time.monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_RETRY_S)
        else:
            return


def _prepare(connection: sqlite3.Connection, path: Path, file_format: FileFormat) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (num_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application_id, version, num_tables) == (0, 0, 0):
        for statement in file_format.schema:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={file_format.application_id:d}")
        connection.execute(f"PRAGMA user_version={file_format.version:d}")
    elif application_id != file_format.application_id:
        raise FailedPreconditionError(f"{path} is not a Dragoman {file_format.name}.")
    elif file_format.upgrades.keys() >= set(range(version, file_format.version)) and version < file_format.version:
        for step in range(version, file_format.version):
            for statement in file_format.upgrades[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={file_format.version:d}")
    elif version != file_format.version:
        raise FailedPreconditionError(
            f"{path} is a {file_format.name} of format {version}; this build reads format {file_format.version}."
        )
