# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the autoscaler can be told, from DRAGOMAN_AUTOSCALER_* variables. Read once, in __main__."""

from dataclasses import dataclass

from dragoman_autoscaler.places import PoolPlace, parse_places
from dragoman_autoscaler.pool import PoolLimits
from dragoman_autoscaler.targets import Targets
from dragoman_common.server import ServerSettings

PREFIX = "DRAGOMAN_AUTOSCALER_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """See each field."""

    server: ServerSettings
    pools: tuple[str, ...]
    """pool=host:port, comma-separated: each address of host is one of the pool's workers."""
    report_interval_ms: int = 500
    """Between two reports of a worker; shorter sees demand sooner, and costs each worker some microseconds a report."""
    stale_after_ms: int = 3_000
    """A worker's report counts for so long."""
    smoothing_ms: int = 5_000
    """Time constant of a pool's numbers: longer is calmer, shorter scales up sooner."""
    cool_down_s: float = 60.0
    """A pool stays active for so long after its last demand. KEDA's cooldownPeriod comes on top."""
    empty_after_s: float = 60.0
    """A pool whose name has lost all its addresses counts as empty after so long; before, as unknown."""
    target_pending_tokens: float = Targets().pending_tokens
    """Of each worker, for triggers that name none."""
    target_queue_time_ms: float = Targets().queue_time_ms
    """Of each worker, for triggers that name none."""
    target_utilization: float = Targets().utilization
    """Of each worker, for triggers that name none."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        parse_places(self.pools)
        if self.report_interval_ms < 100:
            raise ValueError("REPORT_INTERVAL_MS: at least 100, a worker's own shortest")
        if self.stale_after_ms < 2 * self.report_interval_ms:
            raise ValueError("STALE_AFTER_MS: at least twice REPORT_INTERVAL_MS, or a late report blinds")
        for name in ("smoothing_ms", "target_pending_tokens", "target_queue_time_ms", "target_utilization"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name.upper()}: must be over 0")
        if self.target_utilization > 1:
            raise ValueError("TARGET_UTILIZATION: at most 1")
        for name in ("cool_down_s", "empty_after_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name.upper()}: must not be negative")

    @property
    def places(self) -> tuple[PoolPlace, ...]:
        """The pools."""
        return parse_places(self.pools)

    @property
    def limits(self) -> PoolLimits:
        """How each is known."""
        return PoolLimits(
            stale_after_s=self.stale_after_ms / 1000,
            smoothing_s=self.smoothing_ms / 1000,
            empty_after_s=self.empty_after_s,
            cool_down_s=self.cool_down_s,
        )

    @property
    def targets(self) -> Targets:
        """For triggers that name none."""
        return Targets(
            pending_tokens=self.target_pending_tokens,
            queue_time_ms=self.target_queue_time_ms,
            utilization=self.target_utilization,
        )
