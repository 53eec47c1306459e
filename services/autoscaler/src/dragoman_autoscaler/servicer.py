# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The autoscaler's gRPC faces: KEDA's external scaler, and what gateways report.

Owns KEDA's messages. KEDA fills the float fields when they are over 0 and the integer ones else, so both are filled; a
metric's name comes without the ``sN-`` that KEDA puts before it. An answer is always the best that is known: KEDA's own
fallback does not begin when a scaler errs by silence, and an HPA without a metric scales nothing up.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from dragoman.autoscaler.v1 import autoscaler_pb2 as pb
from dragoman.autoscaler.v1 import autoscaler_pb2_grpc as pb_grpc
from dragoman_autoscaler.convert import held_from_pb
from dragoman_autoscaler.pools import Pools
from dragoman_autoscaler.rule import METRICS, targets_by_metric
from dragoman_autoscaler.targets import Targets, Trigger, parse_trigger
from dragoman_common.auth import PolicyTable
from dragoman_common.errors import InvalidArgumentError
from externalscaler import externalscaler_pb2 as keda
from externalscaler import externalscaler_pb2_grpc as keda_grpc

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any

_KEDA = frozenset({"keda"})
POLICY: PolicyTable = {
    **{
        f"/externalscaler.ExternalScaler/{method}": _KEDA
        for method in ("IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics")
    },
    "/dragoman.autoscaler.v1.AutoscalerService/ReportDemand": frozenset({"gateway"}),
}

STREAM_LIFE_S = 1_800.0
"""A stream ends after it, in good order: KEDA opens the next one in 2 s, and after an error in up to a minute."""
COOL_DOWN_CHECK_S = 1.0


class KedaServicer(keda_grpc.ExternalScalerServicer):
    """KEDA's external-push scaler."""

    def __init__(self, pools: Pools, defaults: Targets) -> None:
        """Answer from pools.

        Args:
            pools: What is known.
            defaults: For triggers that name no target.
        """
        self._pools = pools
        self._defaults = defaults
        self._stopped = asyncio.Event()

    async def stop(self) -> None:
        """End the streams, so that the server can."""
        self._stopped.set()
        self._pools.change()

    async def IsActive(  # noqa: N802 - the protocol's name
        self, request: keda.ScaledObjectRef, _context: Context
    ) -> keda.IsActiveResponse:
        """Whether the pool should have any worker."""
        return keda.IsActiveResponse(result=self._pools.is_active(self._trigger(request).pool))

    async def StreamIsActive(  # noqa: N802 - the protocol's name
        self, request: keda.ScaledObjectRef, _context: Context
    ) -> AsyncIterator[keda.IsActiveResponse]:
        """The same, now and at each change."""
        pool = self._trigger(request).pool
        ends_s = asyncio.get_running_loop().time() + STREAM_LIFE_S
        sent = None
        while not self._stopped.is_set() and asyncio.get_running_loop().time() < ends_s:
            changed = self._pools.changed()
            is_active = self._pools.is_active(pool)
            if is_active is not sent:
                sent = is_active
                yield keda.IsActiveResponse(result=is_active)
            try:
                # A cool-down ends without anything that changes.
                async with asyncio.timeout(COOL_DOWN_CHECK_S):
                    await changed.wait()
            except TimeoutError:
                continue

    async def GetMetricSpec(  # noqa: N802 - the protocol's name
        self, request: keda.ScaledObjectRef, _context: Context
    ) -> keda.GetMetricSpecResponse:
        """What each worker should have of each metric."""
        trigger = self._trigger(request)
        # Asked for here, capacity is learned from the start.
        self._pools.values(trigger.pool, trigger.targets)
        return keda.GetMetricSpecResponse(
            metricSpecs=[
                keda.MetricSpec(metricName=name, targetSize=max(1, round(target)), targetSizeFloat=target)
                for name, target in targets_by_metric(trigger.targets).items()
            ]
        )

    async def GetMetrics(  # noqa: N802 - the protocol's name
        self, request: keda.GetMetricsRequest, _context: Context
    ) -> keda.GetMetricsResponse:
        """What the pool has of one metric, or of all where none is named."""
        trigger = self._trigger(request.scaledObjectRef)
        name = request.metricName
        if name and name not in METRICS:
            raise InvalidArgumentError(f"metricName: no {name[:64]!r}; there are {', '.join(METRICS)}")
        values = self._pools.values(trigger.pool, trigger.targets)
        return keda.GetMetricsResponse(
            metricValues=[
                # Rounded up: a fraction of demand is not none.
                keda.MetricValue(metricName=each, metricValue=math.ceil(values[each]), metricValueFloat=values[each])
                for each in ((name,) if name else METRICS)
            ]
        )

    def _trigger(self, request: keda.ScaledObjectRef) -> Trigger:
        return parse_trigger(request.scalerMetadata, self._defaults)


class DemandServicer(pb_grpc.AutoscalerServiceServicer):
    """What gateways hold."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    async def ReportDemand(  # noqa: N802 - the protocol's name
        self, request: pb.ReportDemandRequest, _context: Context
    ) -> pb.ReportDemandResponse:
        """Take a gateway's report in place of its last one."""
        lifetime_s = request.lifetime.ToNanoseconds() / 1e9
        self._pools.take_demand(request.reporter, held_from_pb(request.pools), lifetime_s)
        return pb.ReportDemandResponse()
