# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What there is to check: addresses of services and parts, and the keys at hand. What has no address is skipped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dragoman_client.local.home import Home
from dragoman_client.local.parts import PartsSettings, RealParts, remembered
from dragoman_client.local.services import SERVICES
from dragoman_client.local.state import PlatformState
from dragoman_common.errors import InvalidArgumentError
from dragoman_common.tls import ChannelTls
from dragoman_common.tls_files import TlsFileError


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """One platform, seen from outside."""

    home: Home
    targets: Mapping[str, str] = field(default_factory=dict)
    """host:port of each service's gRPC server, by name."""
    http_address: str = ""
    """host:port of the gateway's HTTP side."""
    parts: PartsSettings | None = None
    """Kafka, S3 and Postgres; None where the platform is on files of the home."""
    ca_file: Path | None = None
    """Whom to trust: set, and every service is asked over TLS."""
    is_local: bool = True
    """Whether the platform is this home's own: then its files, spool and folders are here to look at."""


def deployment_of(
    home: Home,
    state: PlatformState | None,
    *,
    targets: Mapping[str, str],
    parts: RealParts | None,
    ca_file: Path | None = None,
) -> Deployment:
    """Take the home's running platform, with what the caller names in its place.

    Raises:
        InvalidArgumentError: a name is no service's, or the file of certificates holds none.
        DataLossError: what the home remembers of its parts is damaged.
    """
    if unknown := sorted(set(targets) - {*SERVICES, "http"}):
        raise InvalidArgumentError(f"--target: no service {unknown[0]!r}; there are {', '.join(SERVICES)}, http")
    found = {service.name: f"127.0.0.1:{service.port}" for service in state.services if service.port} if state else {}
    http_address = state.http_address if state else ""
    described = parts or remembered(home)
    if ca_file is not None:
        try:
            ChannelTls(ca_file)
        except TlsFileError as error:
            raise InvalidArgumentError(f"--ca: {str(error).partition(': ')[2]}") from None
    return Deployment(
        home=home,
        targets={**found, **{name: target for name, target in targets.items() if name != "http"}},
        http_address=targets.get("http", http_address),
        parts=described.settings if described else None,
        ca_file=ca_file,
        is_local=not targets,
    )
