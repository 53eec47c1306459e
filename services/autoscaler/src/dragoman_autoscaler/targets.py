# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a trigger of a ScaledObject asks for: a pool, and how full each of its workers should be."""

from collections.abc import Mapping
from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError

MAX_TARGET = 1e12
POOL = "pool"
PENDING_TOKENS = "targetPendingTokens"
QUEUE_TIME_MS = "targetQueueTimeMs"
UTILIZATION = "targetUtilization"


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """Of each worker. The numbers are a linear model's on two cores; bench/autoscale shows what they do.

    Attributes:
        pending_tokens: Tokens that it holds, waiting and running: about two full batches keep a device busy.
        queue_time_ms: How long a call waits there.
        utilization: Of what a worker does while it holds its target, as learned: what is left takes the bursts.
    """

    pending_tokens: float = 4_000.0
    queue_time_ms: float = 250.0
    utilization: float = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class Trigger:
    """A pool and its targets."""

    pool: str
    targets: Targets


def parse_trigger(metadata: Mapping[str, str], defaults: Targets) -> Trigger:
    """Read a trigger's metadata. What else KEDA passes on (scalerAddress, ...) is nothing to us.

    Raises:
        InvalidArgumentError: no pool, a target that is no number over 0, or one that does not exist.
    """
    known = {PENDING_TOKENS: "pending_tokens", QUEUE_TIME_MS: "queue_time_ms", UTILIZATION: "utilization"}
    unknown = sorted(key for key in metadata if key.startswith("target") and key not in known)
    if unknown:
        raise InvalidArgumentError(f"scalerMetadata: no such target: {unknown[0][:64]!r}; known are {', '.join(known)}")
    if not metadata.get(POOL):
        raise InvalidArgumentError(f"scalerMetadata: {POOL!r} is missing: which pool is to be scaled")
    numbers = {
        "pending_tokens": defaults.pending_tokens,
        "queue_time_ms": defaults.queue_time_ms,
        "utilization": defaults.utilization,
    } | {name: _number(key, metadata[key]) for key, name in known.items() if key in metadata}
    if numbers["utilization"] > 1:
        raise InvalidArgumentError(f"scalerMetadata: {UTILIZATION} must be over 0 and at most 1, such as 0.75")
    return Trigger(pool=metadata[POOL], targets=Targets(**numbers))


def _number(key: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    # NaN is on neither side of anything.
    if not 0 < number <= MAX_TARGET:
        raise InvalidArgumentError(f"scalerMetadata: {key} is {text[:32]!r}, must be a number over 0")
    return number
