# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802, ARG002 - method names and arguments are gRPC's
"""The launcher's RPCs: protobuf in, domain calls, protobuf out. The tenant is the caller's, never the request's."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from dragoman.launcher.v1 import launcher_pb2 as pb
from dragoman.launcher.v1 import launcher_pb2_grpc
from dragoman_common.auth import PolicyTable, current_caller
from dragoman_common.clock import Clock
from dragoman_common.errors import InvalidArgumentError, UnimplementedError
from dragoman_launcher import convert
from dragoman_launcher.catalogue import JobCatalogue, JobNotFoundError
from dragoman_launcher.pod_exchange import POD, PodName, PodTokenExchange
from dragoman_launcher.ports import JobRunner
from dragoman_launcher.submission import JobSubmission
from dragoman_launcher.supervisor import JobSupervisor

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]

LOG_CHUNK_BYTES: Final = 64 * 1024
LOG_POLL_S: Final = 0.2
"""How far behind a followed log may be: nothing tells the launcher when a job writes a line."""

_OPERATOR: Final = frozenset({"operator"})
_SERVICE: Final = "/dragoman.launcher.v1.LauncherService/"

POLICY: Final[PolicyTable] = {
    **{
        _SERVICE + method: _OPERATOR
        for method in ("SubmitJob", "GetJob", "ListJobs", "WatchJob", "CancelJob", "ReadJobLog")
    },
    _SERVICE + "ReportProgress": frozenset({"trainer"}),
    _SERVICE + "ExchangePodToken": frozenset({POD}),
}


class LauncherServicer(launcher_pb2_grpc.LauncherServiceServicer):
    def __init__(
        self,
        *,
        catalogue: JobCatalogue,
        submission: JobSubmission,
        supervisor: JobSupervisor,
        runner: JobRunner,
        clock: Clock,
        exchange: PodTokenExchange | None = None,
        log_poll_s: float = LOG_POLL_S,
    ) -> None:
        self._catalogue = catalogue
        self._submission = submission
        self._supervisor = supervisor
        self._runner = runner
        self._clock = clock
        self._exchange = exchange
        self._log_poll_s = log_poll_s

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: "Context") -> pb.SubmitJobResponse:
        caller = current_caller()
        job, is_created = await self._submission.submit(
            tenant=caller.tenant,
            subject=caller.subject,
            request_id=request.request_id,
            model=request.model,
            recipe=request.recipe,
            overrides=dict(request.overrides),
        )
        return pb.SubmitJobResponse(job=convert.job_to_pb(job), created=is_created)

    async def GetJob(self, request: pb.GetJobRequest, context: "Context") -> pb.GetJobResponse:
        job = await self._catalogue.seek(current_caller().tenant, request.id)
        return pb.GetJobResponse(job=convert.job_to_pb(job))

    async def ListJobs(self, request: pb.ListJobsRequest, context: "Context") -> pb.ListJobsResponse:
        jobs, token = self._catalogue.page(current_caller().tenant, request.page_size, request.page_token)
        return pb.ListJobsResponse(jobs=map(convert.job_to_pb, jobs), next_page_token=token)

    async def WatchJob(self, request: pb.WatchJobRequest, context: "Context") -> AsyncIterator[pb.WatchJobResponse]:
        tenant = current_caller().tenant
        await self._catalogue.seek(tenant, request.id)
        async for job in self._catalogue.watch(tenant, request.id):
            yield pb.WatchJobResponse(job=convert.job_to_pb(job))

    async def CancelJob(self, request: pb.CancelJobRequest, context: "Context") -> pb.CancelJobResponse:
        job = await self._supervisor.cancel(current_caller().tenant, request.id, request.reason)
        return pb.CancelJobResponse(job=convert.job_to_pb(job))

    async def ReadJobLog(
        self, request: pb.ReadJobLogRequest, context: "Context"
    ) -> AsyncIterator[pb.ReadJobLogResponse]:
        tenant = current_caller().tenant
        await self._catalogue.seek(tenant, request.id)
        offset_bytes = request.offset_bytes
        if offset_bytes < 0:
            raise InvalidArgumentError(f"offset_bytes is {offset_bytes}; it counts from 0.")
        while True:
            # Asked before reading: what is written up to the end is then still read.
            is_last = not request.follow or self._catalogue.get(tenant, request.id).is_ended
            while data := await self._runner.read_log(request.id, offset_bytes, LOG_CHUNK_BYTES):
                offset_bytes += len(data)
                yield pb.ReadJobLogResponse(data=data, next_offset_bytes=offset_bytes)
            if is_last:
                return
            await asyncio.sleep(self._log_poll_s)

    async def ReportProgress(self, request: pb.ReportProgressRequest, context: "Context") -> pb.ReportProgressResponse:
        caller = current_caller()
        if not caller.job_id or caller.job_id != request.id:
            # The same answer as for a job that is not there: a job learns nothing of others.
            raise JobNotFoundError(f"There is no job {request.id[:64]!r} that this token is for.")
        progress = None
        if request.HasField("progress"):
            progress = convert.progress_from_pb(request.progress, report_time=self._clock.now())
        job = await self._supervisor.report(request.id, caller.tenant, progress, convert.publication_from_pb(request))
        return pb.ReportProgressResponse(is_cancelled=job.is_cancelled)

    async def ExchangePodToken(
        self, request: pb.ExchangePodTokenRequest, context: "Context"
    ) -> pb.ExchangePodTokenResponse:
        if self._exchange is None:
            raise UnimplementedError("This launcher's jobs are no pods.")
        token, expire_time = await self._exchange.exchange(PodName.parse(current_caller().subject))
        response = pb.ExchangePodTokenResponse(token=token)
        response.expire_time.FromDatetime(expire_time)
        return response
