# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL for tests, found in this order:

1. DRAGOMAN_TEST_POSTGRES_URL (postgresql://…; its user may make databases): a server that runs already, never killed.
2. A Docker engine that answers and has the image DRAGOMAN_TEST_POSTGRES_IMAGE, or can pull it, through testcontainers.
   The image takes POSTGRES_PASSWORD, as the official one does.
3. Fetched by Maven at a pinned version (PostgreSQL's own programs, as Zonky builds them), once, into
   $XDG_CACHE_HOME/dragoman/parts/postgres/<version>, and run on a free loopback port.

The password is generated; it is asked for (SCRAM) on every connection, and there is no other way in. fsync stays on.
"""

import os
import platform
import secrets
import shutil
import signal
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from tests.parts.cache import free_ports, from_maven, made_once, pinned
from tests.parts.hosts import Container, Host, Process, image
from tests.parts.missing import MissingPartError
from tests.parts.server import Server, started

VERSION = "17.7.0"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64v8"}
HASHES = Path(__file__).with_name("postgres.sha256")
IMAGE = "localhost/dragoman-postgres"
CONTAINER_PORT = 5432
USER = "postgres"
# Who it runs as where we are root, which it refuses to be.
NOBODY = 65534
# access(2) leaves out rights that are not root's by itself, and initdb asks it.
ASKS_TOO = ("--securebits=+no_setuid_fixup",)
START_S = 60.0
INITDB_S = 120
_URL = "DRAGOMAN_TEST_POSTGRES_URL"


class PostgresServer(Server):
    """One server. Killing and starting it again keeps its address, password and data."""

    def __init__(self, host: Host | None, *, url: str) -> None:
        # Without the URL: it holds the password.
        super().__init__(host, name="PostgreSQL", start_s=START_S)
        self.url = url

    def admin(self) -> psycopg.Connection:
        """A connection with every right, to look and meddle behind the back of what is tested."""
        return psycopg.connect(self.url, autocommit=True, connect_timeout=2)

    def make_database(self) -> str:
        """Make a database of a new name, and return its URL."""
        name = f"test_{secrets.token_hex(8)}"
        with self.admin() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"{self.url.rpartition('/')[0]}/{name}"

    def _answers(self) -> bool:
        try:
            with self.admin() as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def running(folder: Path, *, killable: bool = False, process: bool = False) -> Iterator[PostgresServer]:
    """A server for the time of the block, with data of its own (as a process: below folder).

    Args:
        folder: For data and log.
        killable: Whether it must be one that the test may kill: then never the one that the environment names.
        process: Whether it must be a process of ours.

    Raises:
        MissingPartError: none of the three ways leads to one.
    """
    external = os.environ.get(_URL)
    if external and not (killable or process):
        server = PostgresServer(None, url=external)
        server.wait_ready()
        yield server
        return
    name = None if process else image(os.environ.get("DRAGOMAN_TEST_POSTGRES_IMAGE", IMAGE))
    server, host = _started(folder, name)
    try:
        yield server
    finally:
        host.remove()


def programs() -> Path:
    """Return the folder that holds bin, lib and share, fetched first if this machine has none.

    Raises:
        MissingPartError: no Maven, no build for this machine, or not the pinned file.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None:
        raise MissingPartError(f"{_URL} is not set, and there is no PostgreSQL to fetch for {platform.machine()}")
    return made_once("postgres", f"{VERSION}-{machine}", lambda into: _fetch(machine, into))


def _fetch(machine: str, into: Path) -> None:
    name = f"embedded-postgres-binaries-linux-{machine}"
    file = f"{name}-{VERSION}.jar"
    with tempfile.TemporaryDirectory() as work:
        jar = Path(work) / file
        from_maven([f"io.zonky.test.postgres:{name}:{VERSION}"], {file: pinned(HASHES)[file]}, Path(work))
        with zipfile.ZipFile(jar) as archive:
            inner = next(member for member in archive.namelist() if member.endswith(".txz"))
            with archive.open(inner) as packed, tarfile.open(fileobj=packed, mode="r|xz") as programs_archive:
                programs_archive.extractall(into, filter="data")


def _started(folder: Path, image_name: str | None) -> tuple[PostgresServer, Host]:
    password = secrets.token_hex(20)
    data = folder / "data"
    if not image_name:
        _initialize(data, password)

    def make() -> tuple[PostgresServer, Host]:
        (port,) = free_ports(1)
        host: Host
        if image_name:
            environ = {"POSTGRES_USER": USER, "POSTGRES_PASSWORD": password}
            host = Container(image_name, port=CONTAINER_PORT, host_port=port, environ=environ)
        else:
            host = _process(folder, port)
        return PostgresServer(host, url=f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"), host

    return started(make)


def _initialize(data: Path, password: str) -> None:
    data.mkdir(parents=True, mode=0o700)
    if os.geteuid() == 0:
        os.chown(data, NOBODY, NOBODY)
    # initdb asks for the password in a file; no command line shows it.
    with tempfile.NamedTemporaryFile("w", prefix="password-", dir=data.parent) as file:
        file.write(password)
        file.flush()
        made = subprocess.run(
            [
                *_unprivileged(),
                programs() / "bin" / "initdb",
                f"--pgdata={data}",
                f"--username={USER}",
                f"--pwfile={file.name}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=INITDB_S,
            check=False,
        )
    if made.returncode:
        raise MissingPartError(f"initdb: {' '.join(made.stderr.split())[-400:]}")


def _process(folder: Path, port: int) -> Process:
    options = {
        "listen_addresses": "127.0.0.1",
        # Paths of test folders are longer than a socket's may be.
        "unix_socket_directories": "",
        "port": str(port),
        "max_connections": "100",
        "shared_buffers": "32MB",
    }
    command = [*_unprivileged(), programs() / "bin" / "postgres", "-D", folder / "data"]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    # SIGINT ends the sessions there are; SIGTERM would wait for them.
    return Process(command, folder / "postgres.log", environ={}, stop_signal=signal.SIGINT)


def _unprivileged() -> list[str]:
    """Return what a command begins with to run as nobody where we are root.

    One right of root's is left to it: to pass through folders that are closed to others, as a test's folder is.
    """
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise MissingPartError(
            "PostgreSQL does not run as root, and there is no setpriv (util-linux) to leave root with"
        )
    right = "+dac_read_search"
    rights = [f"--inh-caps={right}", f"--ambient-caps={right}", f"--bounding-set=-all,{right}"]
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *rights, *ASKS_TOO, "--no-new-privs"]
