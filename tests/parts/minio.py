# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A real MinIO for tests, found in this order:

1. DRAGOMAN_TEST_S3_ENDPOINT, _ACCESS_KEY, _SECRET_KEY (and _REGION): a server that runs already. It is never killed.
2. A Docker engine that answers and has the image DRAGOMAN_TEST_MINIO_IMAGE, or can pull it, through testcontainers.
3. Built by `go install` at a pinned version, once, into $XDG_CACHE_HOME/dragoman/parts/minio/<version>, and run as a
   process on a free loopback port.

Credentials are generated for each server; data lives in a folder of the caller's and outlives kill and restart.
"""

import base64
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import urllib3
from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from tests.parts import hosts
from tests.parts.missing import MissingPartError, missing

MODULE = "github.com/minio/minio"
# The last commit: the project is archived, so there is no newer one to come.
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
IMAGE = "localhost/dragoman-minio"
START_S = 60.0
ATTEMPTS = 3
CONTAINER_PORT = 9000
_ENV = "DRAGOMAN_TEST_S3_"


class _Host(Protocol):
    """Where the server runs: what differs between a process and a container."""

    def start(self, port: int, environ: Mapping[str, str]) -> None: ...

    def is_alive(self) -> bool: ...

    def kill(self) -> None: ...

    def said(self) -> str: ...


class MinioServer:
    """One server. Killing and starting it again keeps its address, credentials and data."""

    def __init__(
        self,
        host: _Host | None,
        *,
        endpoint: str,
        access_key: str,
        secret_key: str,
        region: str = "us-east-1",
        ca_file: Path | None = None,
    ) -> None:
        self._host, self._ca_file = host, ca_file
        self.endpoint, self.region = endpoint, region
        self.access_key, self.secret_key = access_key, secret_key
        # With a key of its own the server can encrypt what it keeps (SSE-S3).
        self._kms_key = "dragoman:" + base64.b64encode(secrets.token_bytes(32)).decode()

    @property
    def can_be_killed(self) -> bool:
        return self._host is not None

    @property
    def address(self) -> str:
        """host:port"""
        return self.endpoint.partition("://")[2]

    def admin(self) -> Minio:
        """A client with every right, to look and meddle behind the back of what is tested."""
        return Minio(
            self.address,
            self.access_key,
            self.secret_key,
            secure=self.endpoint.startswith("https:"),
            region=self.region,
            http_client=urllib3.PoolManager(
                ca_certs=str(self._ca_file) if self._ca_file else None, retries=False, timeout=60
            ),
        )

    def make_bucket(self) -> str:
        """Make a bucket of a new name, and return it."""
        name = f"test-{secrets.token_hex(8)}"
        self.admin().make_bucket(name)
        return name

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            MissingPartError: it ended, or did not answer in time; with what it said.
        """
        host = self._own()
        host.start(
            int(self.address.rpartition(":")[2]),
            {
                "MINIO_ROOT_USER": self.access_key,
                "MINIO_ROOT_PASSWORD": self.secret_key,
                "MINIO_KMS_SECRET_KEY": self._kms_key,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
            },
        )
        ends_s = time.monotonic() + START_S
        while not self._answers():
            if not host.is_alive() or time.monotonic() > ends_s:
                said = " ".join(host.said().split())[-400:]
                self.kill()
                raise MissingPartError(f"the server did not come up on {self.endpoint}: {said}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._own().kill()

    def restart(self) -> None:
        """Kill it if it lives, and start it on the same port and data."""
        self.kill()
        self.start()

    def _own(self) -> _Host:
        if self._host is None:
            raise MissingPartError(f"the server at {_ENV}ENDPOINT is not ours to start or kill")
        return self._host

    def _answers(self) -> bool:
        # A signed request, not /minio/health/ready: that is well before the server knows its own credentials, and until
        # then it asks clients to come back in 60 s.
        try:
            self.admin().list_buckets()
        except (MinioException, HTTPError):
            return False
        return True


class _Process:
    def __init__(self, binary: Path, data: Path, certificates: Path | None) -> None:
        self._binary, self._data, self._certificates = binary, data, certificates
        self._log = data.with_name(data.name + ".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, port: int, environ: Mapping[str, str]) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        certificates = self._certificates or self._data.with_name(self._data.name + ".no-certificates")
        command = [self._binary, "server", "--quiet", "--certs-dir", certificates, "--address", f"127.0.0.1:{port}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, self._data],
                env={"PATH": os.environ["PATH"], "HOME": str(self._data.parent), **environ},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def said(self) -> str:
        return self._log.read_text(errors="replace")


class _Container:
    """The same in a container, on a fixed port of the host so that a restart keeps the address."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._container = None

    def start(self, port: int, environ: Mapping[str, str]) -> None:
        from docker.errors import DockerException
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.container import DockerContainer

        # Its reaper is one more image to pull; running() removes the container itself.
        testcontainers_config.ryuk_disabled = True
        try:
            if self._container is not None:
                self._container.get_wrapped_container().start()
                return
            container = DockerContainer(self._image)
            # with_bind_ports takes no address, and would listen on every one.
            container.ports[f"{CONTAINER_PORT}/tcp"] = ("127.0.0.1", port)
            for name, value in environ.items():
                container.with_env(name, value)
            self._container = container.with_command(f"server --quiet --address :{CONTAINER_PORT} /data").start()
        except DockerException as error:
            raise MissingPartError(f"the image {self._image} does not start: {error}") from error

    def is_alive(self) -> bool:
        if self._container is None:
            return False
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        return wrapped.status in ("created", "running")

    def kill(self) -> None:
        if self.is_alive():
            self._container.get_wrapped_container().kill(signal="SIGKILL")
            self._container.get_wrapped_container().wait()

    def said(self) -> str:
        return "" if self._container is None else b"".join(self._container.get_logs()).decode(errors="replace")

    def remove(self) -> None:
        if self._container is not None:
            self._container.stop()


@contextmanager
def running(folder: Path, *, certificates: Path | None = None, killable: bool = False) -> Iterator[MinioServer]:
    """A MinIO for the time of the block, with a data folder of its own below folder.

    Args:
        folder: For data and log.
        certificates: A folder with public.crt (self-signed) and private.key: the server then speaks TLS, as a process.
        killable: Whether it must be one that the test may kill: then never the one that the environment names.

    Raises:
        MissingPartError: none of the three ways leads to one.
    """
    if not killable and not certificates and (external := _external()):
        yield external
        return
    image = None if certificates else hosts.image(os.environ.get("DRAGOMAN_TEST_MINIO_IMAGE", IMAGE))
    container = _Container(image) if image else None
    host: _Host = container or _Process(binary(), folder / "data", certificates)
    server = _started(host, ca_file=certificates / "public.crt" if certificates else None)
    try:
        yield server
    finally:
        server.kill()
        if container:
            container.remove()


def required(find: Callable[[], MinioServer]) -> MinioServer:
    """Return what find returns; without it the run ends, or the test is skipped where ALLOW_MISSING says so."""
    try:
        return find()
    except MissingPartError as error:
        missing("minio", error)


def binary() -> Path:
    """Return the native server, built first if this machine has none.

    Raises:
        MissingPartError: no Go, or it cannot build it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dragoman" / "parts" / "minio" / VERSION
    made = cache / "minio"
    if made.exists():
        return made
    if shutil.which("go") is None:
        raise MissingPartError(
            f"{_ENV}ENDPOINT is not set, no Docker engine has the image {IMAGE}, and there is no Go to build it with"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Two runs on one machine build it once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            sys.stderr.write(f"building MinIO {VERSION} with Go, once; this takes some minutes\n")
            with tempfile.TemporaryDirectory(dir=cache) as build:
                built = subprocess.run(
                    ["go", "install", "-trimpath", "-ldflags=-s -w", f"{MODULE}@{VERSION}"],
                    env=os.environ | {"GOBIN": build, "CGO_ENABLED": "0"},
                    cwd=build,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if built.returncode:
                    raise MissingPartError(f"go install {MODULE}@{VERSION}: {' '.join(built.stderr.split())[-400:]}")
                (Path(build) / "minio").rename(made)
    return made


def _external() -> MinioServer | None:
    endpoint = os.environ.get(f"{_ENV}ENDPOINT")
    if not endpoint:
        return None
    try:
        access_key, secret_key = os.environ[f"{_ENV}ACCESS_KEY"], os.environ[f"{_ENV}SECRET_KEY"]
    except KeyError as error:
        raise MissingPartError(f"{_ENV}ENDPOINT is set, {error} is not") from None
    region = os.environ.get(f"{_ENV}REGION", "us-east-1")
    return MinioServer(None, endpoint=endpoint, access_key=access_key, secret_key=secret_key, region=region)


def _started(host: _Host, *, ca_file: Path | None) -> MinioServer:
    for attempt in range(1, ATTEMPTS + 1):
        server = MinioServer(
            host,
            endpoint=f"{'https' if ca_file else 'http'}://127.0.0.1:{_free_port()}",
            access_key=secrets.token_hex(8),
            secret_key=secrets.token_hex(20),
            ca_file=ca_file,
        )
        try:
            server.start()
        except MissingPartError:
            # The server cannot be given port 0, so another process may have taken the free one meanwhile.
            if attempt == ATTEMPTS:
                raise
        else:
            return server
    raise AssertionError


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
