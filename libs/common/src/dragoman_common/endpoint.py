# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where a service is: a host and a port. Pure: names are resolved elsewhere (resolver.py).

"dragoman-worker-gpu.ns.svc:9000" -> Endpoint(host, port) -> "10.0.0.7:9000" for each address that the host has
"""

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A host name or address, and a port. Every address that the name has is a process of its own."""

    host: str
    port: int

    @property
    def is_fixed(self) -> bool:
        """An IP literal, or this machine: there is nothing to resolve."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return self.host == "localhost"
        return True

    @property
    def server_name(self) -> str:
        """What a certificate is held against: the name without the dot that ends one for the name service."""
        return self.host.rstrip(".")

    def at(self, host: str) -> str:
        """host:port, as channels want it."""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """Read host:port; an IPv6 address stands in brackets.

    Raises:
        ValueError: the text is something else.
    """
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address as [address]:port")
    if not colon or not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"{text!r} is not host:port")
    return Endpoint(host=host, port=int(port))
