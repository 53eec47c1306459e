# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where pools are: ``pool=host:port``."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

POOL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolPlace:
    """A pool's name, and the name by which its workers are found: each address of host is one of them."""

    pool: str
    host: str
    port: int

    @property
    def server_name(self) -> str:
        """What a worker's certificate is held against: the name without the dot that ends one for the name service."""
        return self.host.rstrip(".")

    def at(self, address: str) -> str:
        """host:port of one worker."""
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"


def parse_places(items: Iterable[str]) -> tuple[PoolPlace, ...]:
    """Read ``pool=host:port`` items.

    Raises:
        ValueError: an item is none, or a pool is named twice.
    """
    places: dict[str, PoolPlace] = {}
    for item in items:
        pool, equals, where = item.strip().partition("=")
        host, colon, port = where.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65_536
        if not (equals and colon and host and is_port and POOL_NAME.fullmatch(pool)):
            raise ValueError(f"POOLS: {item!r} is not pool=host:port, such as small=dragoman-worker-small:9000")
        if pool in places:
            raise ValueError(f"POOLS: {pool!r} is named twice")
        places[pool] = PoolPlace(pool=pool, host=host, port=int(port))
    if not places:
        raise ValueError("POOLS: must name at least one pool")
    return tuple(places.values())
