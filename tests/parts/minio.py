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
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from tests.parts import missing
from tests.parts.cache import free_ports, made_once
from tests.parts.hosts import Container, Host, Process, image
from tests.parts.missing import MissingPartError
from tests.parts.server import Server, started

MODULE = "github.com/minio/minio"
# The last commit: the project is archived, so there is no newer one to come.
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
IMAGE = "localhost/dragoman-minio"
START_S = 60.0
CONTAINER_PORT = 9000
_ENV = "DRAGOMAN_TEST_S3_"


class MinioServer(Server):
    """One server. Killing and starting it again keeps its address, credentials and data."""

    def __init__(
        self,
        host: Host | None,
        *,
        endpoint: str,
        access_key: str,
        secret_key: str,
        region: str = "us-east-1",
        ca_file: Path | None = None,
    ) -> None:
        super().__init__(host, name=f"MinIO on {endpoint}", start_s=START_S)
        self._ca_file = ca_file
        self.endpoint, self.region = endpoint, region
        self.access_key, self.secret_key = access_key, secret_key

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

    def _answers(self) -> bool:
        # A signed request, not /minio/health/ready: that is well before the server knows its own credentials, and until
        # then it asks clients to come back in 60 s.
        try:
            self.admin().list_buckets()
        except (MinioException, HTTPError):
            return False
        return True


@contextmanager
def running(
    folder: Path, *, certificates: Path | None = None, killable: bool = False, process: bool = False
) -> Iterator[MinioServer]:
    """A MinIO for the time of the block, with a data folder of its own below folder.

    Args:
        folder: For data and log.
        certificates: A folder with public.crt (self-signed) and private.key: the server then speaks TLS, as a process.
        killable: Whether it must be one that the test may kill: then never the one that the environment names.
        process: Whether its data must be in that folder and nowhere else: then it is a process.

    Raises:
        MissingPartError: none of the three ways leads to one.
    """
    is_process = process or certificates is not None
    if not killable and not is_process and (external := _external()):
        yield external
        return
    name = None if is_process else image(os.environ.get("DRAGOMAN_TEST_MINIO_IMAGE", IMAGE))
    server, host = _started(folder, name, certificates)
    try:
        yield server
    finally:
        host.remove()


def required(find: Callable[[], MinioServer]) -> MinioServer:
    """Return what find returns; without it the run ends, or the test is skipped where ALLOW_MISSING says so."""
    return missing.required("minio", find)


def binary() -> Path:
    """Return the native server, built first if this machine has none.

    Raises:
        MissingPartError: no Go, or it cannot build it.
    """
    return made_once("minio", VERSION, _build) / "minio"


def _build(into: Path) -> None:
    if shutil.which("go") is None:
        raise MissingPartError(
            f"{_ENV}ENDPOINT is not set, no Docker engine has the image {IMAGE}, and there is no Go to build it with"
        )
    sys.stderr.write(f"building MinIO {VERSION} with Go, once; this takes some minutes\n")
    built = subprocess.run(
        ["go", "install", "-trimpath", "-ldflags=-s -w", f"{MODULE}@{VERSION}"],
        env=os.environ | {"GOBIN": str(into), "CGO_ENABLED": "0"},
        cwd=into,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise MissingPartError(f"go install {MODULE}@{VERSION}: {' '.join(built.stderr.split())[-400:]}")


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


def _started(folder: Path, image_name: str | None, certificates: Path | None) -> tuple[MinioServer, Host]:
    access_key, secret_key = secrets.token_hex(8), secrets.token_hex(20)
    environ = {
        "MINIO_ROOT_USER": access_key,
        "MINIO_ROOT_PASSWORD": secret_key,
        # With a key of its own the server can encrypt what it keeps (SSE-S3).
        "MINIO_KMS_SECRET_KEY": "dragoman:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }

    def make() -> tuple[MinioServer, Host]:
        (port,) = free_ports(1)
        host: Host
        if image_name:
            command = f"server --quiet --address :{CONTAINER_PORT} /data"
            host = Container(image_name, port=CONTAINER_PORT, host_port=port, environ=environ, command=command)
        else:
            host = _process(folder, port, environ, certificates)
        server = MinioServer(
            host,
            endpoint=f"{'https' if certificates else 'http'}://127.0.0.1:{port}",
            access_key=access_key,
            secret_key=secret_key,
            ca_file=certificates / "public.crt" if certificates else None,
        )
        return server, host

    return started(make)


def _process(folder: Path, port: int, environ: dict[str, str], certificates: Path | None) -> Process:
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    command = [binary(), "server", "--quiet", "--certs-dir", certificates or folder / "no-certificates"]
    return Process(
        [*command, "--address", f"127.0.0.1:{port}", data],
        folder / "minio.log",
        environ={"HOME": str(folder), **environ},
    )
