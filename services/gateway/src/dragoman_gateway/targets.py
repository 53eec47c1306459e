# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where workers are looked for, and which pool takes which model. Pure: names are resolved elsewhere.

"gpu=dragoman-worker-gpu:9000" -> WorkerTarget(pool, host, port);  "gpu=acme/*" -> PoolModels.pool_of(version)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from dragoman_common.endpoint import Endpoint, parse_endpoint
from dragoman_gateway.version import VersionKey

DEFAULT_POOL = "default"
_EVERY_MODEL = ("*",)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerTarget:
    """A pool and where its workers are."""

    pool: str
    endpoint: Endpoint


def parse_worker_targets(items: Iterable[str]) -> tuple[WorkerTarget, ...]:
    """Read `[pool=]host:port` items; without a pool it is `default`.

    Raises:
        ValueError: an item is something else, or names a place that another item names.
    """
    targets: list[WorkerTarget] = []
    for item in items:
        pool, equals, place = item.partition("=")
        target = WorkerTarget(
            pool=pool.strip() if equals else DEFAULT_POOL, endpoint=parse_endpoint(place if equals else item)
        )
        if not target.pool:
            raise ValueError(f"{item!r} names no pool before =")
        if any(target.endpoint == other.endpoint for other in targets):
            raise ValueError(f"{item!r}: this place is named twice")
        targets.append(target)
    return tuple(targets)


class PoolModels:
    """Which pool a version belongs to: the first, in the order of the targets, one of whose patterns it matches."""

    def __init__(self, targets: Sequence[WorkerTarget], items: Iterable[str] = ()) -> None:
        """Take `pool=pattern` items; patterns are of `tenant/model`, and a pool without one takes everything.

        Raises:
            ValueError: an item is something else, or names a pool without workers.
        """
        patterns: dict[str, list[str]] = {}
        self.names = tuple(dict.fromkeys(target.pool for target in targets))
        for item in items:
            pool, equals, pattern = (part.strip() for part in item.partition("="))
            if not equals or not pool or not pattern:
                raise ValueError(f"{item!r} is not pool=pattern")
            if pool not in self.names:
                raise ValueError(f"{item!r}: no worker target is of pool {pool!r}")
            patterns.setdefault(pool, []).append(pattern)
        self._patterns = {pool: tuple(patterns.get(pool, _EVERY_MODEL)) for pool in self.names}

    def pool_of(self, key: VersionKey) -> str | None:
        """The pool that is to hold the version; None where none takes its model."""
        name = f"{key.tenant}/{key.model}"
        for pool, patterns in self._patterns.items():
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                return pool
        return None
