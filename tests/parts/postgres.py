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
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from tests.parts.cache import free_ports, from_maven, made_once, pinned
from tests.parts.hosts import Container, Host, Process, image
from tests.parts.missing import MissingPartError

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
ATTEMPTS = 3
_URL = "DRAGOMAN_TEST_POSTGRES_URL"


class PostgresServer:
    """One server. Killing and starting it again keeps its address, password and data."""

    def __init__(self, host: Host | None, *, url: str) -> None:
        self._host = host
        self.url = url

    @property
    def can_be_killed(self) -> bool:
        return self._host is not None

    def admin(self) -> psycopg.Connection:
        """A connection with every right, to look and meddle behind the back of what is tested."""
        return psycopg.connect(self.url, autocommit=True, connect_timeout=2)

    def make_database(self) -> str:
        """Make a database of a new name, and return its URL."""
        name = f"test_{secrets.token_hex(8)}"
        with self.admin() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"{self.url.rpartition('/')[0]}/{name}"

    def start(self) -> None:
        """Start it and wait until it serves.

        Raises:
            MissingPartError: it ended, or did not serve in time; with what it said.
        """
        self._own().start()
        self.wait_ready()

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Wait until it answers a query.

        Raises:
            MissingPartError: it ended, or did not answer in time; with what it printed.
        """
        ends_s = time.monotonic() + timeout_s
        while not self._answers():
            if (self._host and not self._host.is_alive()) or time.monotonic() > ends_s:
                said = " ".join(self._host.said().split())[-400:] if self._host else ""
                raise MissingPartError(f"no PostgreSQL came up: {said}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL to every process of it, and wait until they are gone."""
        self._own().kill()

    def stop(self) -> None:
        """Let it end its sessions and shut down by itself."""
        self._own().stop()

    def restart(self) -> None:
        """Kill it if it lives, and start it on the same port and data."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, and nothing answers."""
        self._own().pause()

    def resume(self) -> None:
        """SIGCONT"""
        self._own().resume()

    def _own(self) -> Host:
        if self._host is None:
            raise MissingPartError(f"the server of {_URL} is not ours to start or kill")
        return self._host

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
    for attempt in range(1, ATTEMPTS + 1):
        (port,) = free_ports(1)
        host: Host
        if image_name:
            environ = {"POSTGRES_USER": USER, "POSTGRES_PASSWORD": password}
            host = Container(image_name, port=CONTAINER_PORT, host_port=port, environ=environ)
        else:
            host = _process(folder, port)
        server = PostgresServer(host, url=f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres")
        try:
            server.start()
        except MissingPartError:
            ended = not host.is_alive()
            host.remove()
            # The port is part of the URL, so it cannot be 0. Another process may have taken the free one meanwhile;
            # then the server has ended.
            if not ended or attempt == ATTEMPTS:
                raise
        else:
            return server, host
    raise AssertionError


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
