# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a worker can answer for a version: what WatchLoaded says, beside where the registry's aliases point.

AliasEvent (model, version, digest) + LoadedVersion... -> Loading: ready, loading, failed and why, draining, absent
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from dragoman.inference.v1 import worker_pb2
from dragoman.registry.v1 import registry_pb2
from dragoman_client.cli.errors import EXIT_CODES
from dragoman_client.operator_client import OperatorClient
from dragoman_common.errors import DeadlineExceededError, UnavailableError

_STATES = {
    worker_pb2.LOAD_STATE_LOADING: "loading",
    worker_pb2.LOAD_STATE_READY: "ready",
    worker_pb2.LOAD_STATE_DRAINING: "draining",
    worker_pb2.LOAD_STATE_FAILED: "failed",
}
# What may have gone when the worker tries again by itself; every other failure is the version's own.
_PASSING = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "OVERLOADED", "RESOURCE_EXHAUSTED", "ABORTED"})


@dataclass(frozen=True, slots=True)
class Loading:
    """What the worker says of one version. state: ready, loading, failed, draining, absent, or unknown."""

    state: str
    reason: str = ""

    @property
    def is_final(self) -> bool:
        """Ready, or failed by what trying again cannot mend."""
        return self.state == "ready" or (self.state == "failed" and self.reason.partition(":")[0] not in _PASSING)

    @property
    def exit_code(self) -> str:
        """The code of a failure: the one that its reason starts with, where it is one that the command has."""
        if self.state != "failed":
            return "DEADLINE_EXCEEDED" if self.state in ("loading", "absent") else "UNAVAILABLE"
        code = self.reason.partition(":")[0]
        return code if code in EXIT_CODES else "FAILED_PRECONDITION"


def loading_of(event: registry_pb2.AliasEvent, loaded: Iterable[worker_pb2.LoadedVersion]) -> Loading:
    """What the worker says of the version that an alias points to."""
    return loading_of_version(event.model, event.stable_version, event.stable_root_sha256, loaded)


def loading_of_version(
    model: str, number: int, root_sha256: str, loaded: Iterable[worker_pb2.LoadedVersion]
) -> Loading:
    """As `loading_of`, for a version; a version of other content under the same number is another version."""
    held = [
        Loading(_STATES.get(version.state, "unknown"), version.reason)
        for version in loaded
        if (version.model, version.number, version.root_sha256) == (model, number, root_sha256)
    ]
    # Several where several workers hold it: what the best of them says.
    return min(held, key=_rank, default=Loading("absent", "the worker has not heard of it yet"))


def _rank(loading: Loading) -> int:
    ranking = ("ready", "loading", "draining", "failed")
    return ranking.index(loading.state) if loading.state in ranking else len(ranking)


async def loaded_or_none(operator: OperatorClient) -> tuple[list[worker_pb2.LoadedVersion] | None, str]:
    """What the worker holds, or None and why it cannot be asked: reading the registry must not depend on it."""
    try:
        return await operator.loaded(), ""
    except (UnavailableError, DeadlineExceededError) as error:
        return None, error.message


async def until_loaded(
    operator: OperatorClient, event: registry_pb2.AliasEvent, *, timeout_s: float, pause_s: float = 0.5
) -> Loading:
    """Wait until the worker is ready for the version of an alias, or cannot be; the last that it said.

    A worker that is away for a moment, or ends a stream that got old, is asked again after `pause_s`.
    """
    last = Loading("unknown", "the worker said nothing")
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    async for loaded in operator.watch_loaded(timeout_s=timeout_s):
                        last = loading_of(event, loaded)
                        if last.is_final:
                            return last
                except UnavailableError as error:
                    last = Loading("unknown", error.message)
                await asyncio.sleep(pause_s)
    except (TimeoutError, DeadlineExceededError):
        return last
