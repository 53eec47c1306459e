# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a laptop's platform keeps in files: the store's folder, the event log, the books, the gateway's spool."""

import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

from dragoman_client.doctor.deployment import Deployment
from dragoman_client.doctor.finding import Finding, Findings
from dragoman_common.atomic import create_exclusive

_LOW_BYTES = 1 << 30
_MANY_WAITING = 1_000
_HERE = Findings("files")
_RESTORE = "restore it from a backup; while it is damaged, stop the platform (`dragoman down`)"


async def check_files(deployment: Deployment) -> AsyncIterator[Finding]:
    """Look at the home's own files. Reads, but for a probe in the store's folder."""
    home = deployment.home
    if not deployment.is_local or not home.root.is_dir():
        yield _HERE.skipped("home", "the platform is not this home's own" if home.root.is_dir() else f"no {home.root}")
        return
    if mode := stat.S_IMODE(home.root.stat().st_mode) & 0o077:
        yield _HERE.fail("permissions", f"{home.root} is open to other users ({mode:03o})", f"chmod 700 {home.root}")
    free = shutil.disk_usage(home.root).free
    if free < _LOW_BYTES:
        yield _HERE.warn("disk", f"{free >> 20} MiB are free below {home.root}", "free space, or `dragoman gc`")
    else:
        yield _HERE.ok("disk", f"{free >> 30} GiB are free below {home.root}")
    if deployment.parts is None:
        yield _store(home.store)
        yield _database("event log", home.events)
        yield _database("books", home.monitor)
    for finding in _spool(home.spool / "spool.db"):
        yield finding


def _store(folder: Path) -> Finding:
    """Create one file twice, as the registry creates a record: the second must be refused."""
    if not folder.is_dir():
        return _HERE.fail("store", f"{folder} is not there", "restore it; `dragoman up` makes an empty one")
    probe = folder / f".doctor-{token_hex(8)}"
    try:
        create_exclusive(probe, b"1")
        create_exclusive(probe, b"2")
    except FileExistsError:
        return _HERE.ok("store", f"{folder} takes files, and none twice")
    except OSError as error:
        return _HERE.fail("store", f"{folder} cannot be written: {error.strerror}", "correct its owner, or free space")
    finally:
        probe.unlink(missing_ok=True)
    return _HERE.fail("store", f"{folder} lets a file be created twice", "use a local file system")


def _database(name: str, path: Path) -> Finding:
    if not path.exists():
        return _HERE.warn(name, f"{path} is not there yet", "`dragoman up` makes it")
    try:
        with closing(_opened(path)) as database:
            [(said,)] = database.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        return _HERE.fail(name, f"{path} cannot be read: {error}", _RESTORE)
    return _HERE.ok(name, f"{path} is whole") if said == "ok" else _HERE.fail(name, f"{path}: {said}", _RESTORE)


def _spool(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield _HERE.skipped("spool", "the gateway has none here")
        return
    try:
        with closing(_opened(path)) as database:
            [(count,)] = database.execute("SELECT count(*) FROM records").fetchall()
    except sqlite3.Error as error:
        yield _HERE.fail("spool", f"{path} cannot be read: {error}", "keep the file: it may hold promised events")
        return
    if count > _MANY_WAITING:
        advice = "see what keeps the event log away; they are sent when it is back, and calls are refused when full"
        yield _HERE.warn("spool", f"{count} events wait for the event log", advice)
    else:
        yield _HERE.ok("spool", f"{count} events wait for the event log")


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)
