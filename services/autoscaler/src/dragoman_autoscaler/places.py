# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where pools are: ``pool=host:port``."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dragoman_common.endpoint import Endpoint, parse_endpoint

POOL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolPlace:
    """A pool's name, and where its workers are: each address that the endpoint's host has is one of them."""

    pool: str
    endpoint: Endpoint


def parse_places(items: Iterable[str]) -> tuple[PoolPlace, ...]:
    """Read ``pool=host:port`` items.

    Raises:
        ValueError: an item is none, or a pool is named twice.
    """
    places: dict[str, PoolPlace] = {}
    for item in items:
        pool, _, where = item.strip().partition("=")
        try:
            endpoint = parse_endpoint(where) if POOL_NAME.fullmatch(pool) else None
        except ValueError:
            endpoint = None
        if endpoint is None:
            raise ValueError(f"POOLS: {item!r} is not pool=host:port, such as small=dragoman-worker-small:9000")
        if pool in places:
            raise ValueError(f"POOLS: {pool!r} is named twice")
        places[pool] = PoolPlace(pool=pool, endpoint=endpoint)
    if not places:
        raise ValueError("POOLS: must name at least one pool")
    return tuple(places.values())
