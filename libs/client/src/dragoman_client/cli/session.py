# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a command works with: the platform of the chosen home, and the connections that it opens to it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from dragoman_client.client import Client
from dragoman_client.connection import DEFAULT_TIMEOUT_S
from dragoman_client.local import keys
from dragoman_client.local.home import Home, data_cache
from dragoman_client.local.platform import Platform
from dragoman_client.local.user_tokens import LOCAL_TENANT, UserTokenIssuer
from dragoman_client.operator_client import OperatorClient, OperatorTargets
from dragoman_common.clock import SystemClock
from dragoman_common.errors import InvalidArgumentError, NotFoundError
from dragoman_common.service_keys import ServiceKey
from dragoman_common.tls import ChannelTls
from dragoman_common.tls_files import TlsFileError

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One run of the command."""

    home: Home
    ca_file: Path | None = None
    """Whom to trust: set, and every connection is TLS."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def platform(self) -> Platform:
        return Platform(self.home, self.environ)

    @property
    def data_cache(self) -> Path:
        return data_cache(self.environ)

    def operator(self) -> OperatorClient:
        """The operator's connection to the running platform, as the local tenant.

        Raises:
            UnavailableError: no platform is running.
        """
        services = {name: self.target(name) for name in ("registry", "launcher", "monitor")}
        targets = OperatorTargets(**services, workers=self.targets("worker"))
        return OperatorClient(targets, self.operator_key(), tenant=LOCAL_TENANT, tls=self.tls)

    @property
    def tls(self) -> ChannelTls | None:
        """For connections to services; None where they are plaintext.

        Raises:
            InvalidArgumentError: --ca names no file of certificates.
        """
        try:
            return ChannelTls(self.ca_file) if self.ca_file else None
        except TlsFileError as error:
            raise InvalidArgumentError(f"--ca: {str(error).partition(': ')[2]}") from None

    def target(self, service: str) -> str:
        """The first of `targets`."""
        return self.targets(service)[0]

    def targets(self, service: str) -> tuple[str, ...]:
        """host:port of a service: of $DRAGOMAN_SERVICES (service=host:port, comma-separated), or of what runs here.

        There is more than one where the variable names the service again: workers, one for each pool.

        Raises:
            UnavailableError: no platform is running.
            InvalidArgumentError: the variable does not name the service.
        """
        given = self.environ.get("DRAGOMAN_SERVICES", "")
        if not given:
            return (self.platform.require_running().target(service),)
        entries = (entry.strip().partition("=") for entry in given.split(","))
        if found := tuple(target for name, _, target in entries if name == service and target):
            return found
        raise InvalidArgumentError(f"DRAGOMAN_SERVICES names no {service}: add {service}=host:port")

    def operator_key(self) -> ServiceKey:
        """The key of the person that $DRAGOMAN_OPERATOR names, or the laptop's own.

        Raises:
            NotFoundError: that person has no key here.
        """
        person = self.environ.get("DRAGOMAN_OPERATOR", "")
        path = keys.operator_key_file(self.home, person)
        if person and not path.is_file():
            raise NotFoundError(f"DRAGOMAN_OPERATOR: {person!r} has no key here; `dragoman operator add` makes one")
        return ServiceKey.load(path)

    def user_token(self) -> str:
        """$DRAGOMAN_TOKEN, or a fresh one of the laptop's own issuer."""
        if given := self.environ.get("DRAGOMAN_TOKEN"):
            return given
        issuer = UserTokenIssuer.load(keys.user_key_file(self.home))
        return issuer.token(clock=SystemClock(), subject=self.user)

    @property
    def user(self) -> str:
        """The name that the laptop's tokens carry; a token's subject is printable ASCII."""
        name = self.environ.get("USER", "")
        return name if name.isascii() and name.isprintable() and name and " " not in name else "local-user"

    @contextmanager
    def client(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Iterator[Client]:
        """A connection to $DRAGOMAN_TARGET, or to the running platform's gateway.

        Raises:
            UnavailableError: no target is given and no platform is running.
        """
        target = self.environ.get("DRAGOMAN_TARGET") or self.platform.require_running().grpc_target
        with Client(target, self.user_token(), timeout_s=timeout_s, tls_ca_file=self.ca_file) as client:
            yield client


def session_of(ctx: typer.Context) -> Session:
    """The session that the root command made."""
    session = ctx.obj
    if not isinstance(session, Session):
        raise TypeError("the root command has not run")
    return session
