# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""An installation of Dragoman for tests, driven as a user drives it: by the `dragoman` command, gRPC and HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dragoman_client.client import Client
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_client.local.user_tokens import UserTokenIssuer
from dragoman_client.operator_client import OperatorClient, OperatorTargets
from dragoman_common.errors import UnavailableError
from dragoman_common.service_keys import ServiceKey
from dragoman_common.testing import FakeClock

COMMAND = Path(sys.executable).parent / "dragoman"


class CommandFailedError(Exception):
    def __init__(self, completed: subprocess.CompletedProcess[str]) -> None:
        super().__init__(f"{completed.args} exited with {completed.returncode}: {completed.stderr}{completed.stdout}")
        self.exit_code = completed.returncode
        self.stdout = completed.stdout
        self.stderr = completed.stderr


@dataclass(frozen=True, kw_only=True)
class Installation:
    """One home, one cache, two ports."""

    home: Path
    cache: Path
    grpc_port: int
    http_port: int
    variables: Mapping[str, str] = field(default_factory=dict)
    """For the command, beside ours."""

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def environ(self) -> Mapping[str, str]:
        own = {"DRAGOMAN_HOME": str(self.home), "DRAGOMAN_CACHE": str(self.cache), "OMP_NUM_THREADS": "1"}
        return os.environ | own | self.variables

    def run(self, *arguments: str, timeout_s: float = 180) -> str:
        """Run `dragoman ...`; returns its standard output, raises CommandFailedError when it fails."""
        completed = subprocess.run(
            [COMMAND, *arguments], env=self.environ, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if completed.returncode != 0:
            raise CommandFailedError(completed)
        return completed.stdout

    def exit_code(self, *arguments: str) -> int:
        try:
            self.run(*arguments)
        except CommandFailedError as error:
            return error.exit_code
        return 0

    def kill_service(self, name: str) -> None:
        """SIGKILL a service, and wait until the supervisor has it ready again."""
        before = self.service(name)["pid"]
        os.kill(int(before), signal.SIGKILL)  # type: ignore[call-overload]

        def is_back() -> bool:
            try:
                service = self.service(name)
            except CommandFailedError:
                # Nothing is said of a service that has just gone, or by one that the command asks.
                return False
            return service["pid"] != before and service["state"] == "ready"

        until(is_back, timeout_s=60)

    def json(self, *arguments: str, timeout_s: float = 180) -> dict[str, object]:
        return json.loads(self.run(*arguments, "--json", timeout_s=timeout_s))

    def up(self) -> None:
        self.run("up", "--detach", "--grpc-port", str(self.grpc_port), "--http-port", str(self.http_port))

    def down(self) -> None:
        self.run("down")

    def service(self, name: str) -> Mapping[str, object]:
        """What `dragoman status` says of one service: at least pid, port and state."""
        services: list[Mapping[str, object]] = self.status()["services"]  # type: ignore[assignment]
        return next(service for service in services if service["name"] == name)

    def status(self) -> dict[str, object]:
        """What `dragoman status` prints, whatever it thinks of it: it fails when a version is not served."""
        try:
            return self.json("status")
        except CommandFailedError as error:
            if not error.stdout.startswith("{"):
                raise
            status: dict[str, object] = json.loads(error.stdout)
            return status

    def service_target(self, name: str) -> str:
        return f"127.0.0.1:{self.service(name)['port']}"

    def token(self, *arguments: str) -> str:
        return str(self.json("token", *arguments)["token"])

    def expired_token(self) -> str:
        """A token of the right key that ended an hour ago."""
        past = FakeClock(now=datetime.now(UTC) - timedelta(hours=1))
        issuer = UserTokenIssuer.load(keys.user_key_file(Home(self.home)))
        return issuer.token(clock=past, subject="late", lifetime_s=60)

    def client(self, *token_arguments: str) -> Client:
        return Client(self.target, self.token(*token_arguments))

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[OperatorClient]:
        ports = {service["name"]: f"127.0.0.1:{service['port']}" for service in self.status()["services"]}
        targets = OperatorTargets(registry=ports["registry"], launcher=ports["launcher"], monitor=ports["monitor"])
        async with OperatorClient(targets, self.key("operator"), tenant="local") as client:
            yield client

    def key(self, identity: str) -> ServiceKey:
        return ServiceKey.load(self.home / "keys" / f"{identity}.pem")

    def train(self, recipe: Path, model: str, *settings: str) -> int:
        """Train, wait, and return the version that was published."""
        options = [part for setting in settings for part in ("--set", setting)]
        lines = self.run("train", str(recipe), "--model", model, *options, "--json", timeout_s=300).splitlines()
        return int(json.loads(lines[-1])["job"]["published_version"])

    def serve(self, model: str, version: int) -> None:
        """Point prod to a version and wait until it answers: the old one serves until the new one is ready."""
        self.run("alias", model, "prod", str(version), "--reason", "test")
        with self.client() as client:
            until(lambda: answers_by(client, model, version), timeout_s=60)


def answers_by(client: Client, model: str, version: int) -> bool:
    """Whether this version answers; False where the call may be sent again."""
    try:
        return client.classify(model, ["grain1"], timeout_s=60).version == version
    except UnavailableError:
        return False


def until(condition: Callable[[], bool], *, timeout_s: float) -> None:
    """Ask again and again; raises TimeoutError when the answer has not become true in time."""
    ends_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > ends_s:
            raise TimeoutError(f"not true within {timeout_s} s")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
