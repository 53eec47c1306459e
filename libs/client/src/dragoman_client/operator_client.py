# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""An operator's calls to registry, launcher, monitor and worker: publish, move an alias, train, report, what is loaded.

Owns the channels and the operator's credential; answers with the services' own messages. The service key binds
the tenant, so no call names one.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import grpc

from dragoman.common.v1 import signed_pb2
from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman.launcher.v1 import launcher_pb2, launcher_pb2_grpc
from dragoman.monitor.v1 import monitor_pb2, monitor_pb2_grpc
from dragoman.registry.v1 import registry_pb2, registry_pb2_grpc
from dragoman_client.loaded_versions import LoadedVersions
from dragoman_client.rpc_errors import explained
from dragoman_common.channel import connect
from dragoman_common.errors import DeadlineExceededError, InvalidArgumentError, NotFoundError, UnavailableError
from dragoman_common.service_keys import KeyTokens, ServiceKey
from dragoman_common.tls import ChannelTls

_CHUNK_BYTES = 1024 * 1024
_PUBLISH_TIMEOUT_S = 600.0
_PAGE_SIZE = 1000
_WATCH_PAUSE_S = 0.5
_ENDED = (launcher_pb2.JOB_STATE_SUCCEEDED, launcher_pb2.JOB_STATE_FAILED, launcher_pb2.JOB_STATE_CANCELLED)


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorTargets:
    """host:port of the services that an operator calls."""

    registry: str
    launcher: str
    monitor: str
    workers: tuple[str, ...] = ()
    """One of each pool; asked only for what is loaded."""


class OperatorClient:
    """Use with `async with`. Every call has a deadline, and raises a `DragomanError` when it fails."""

    def __init__(
        self, targets: OperatorTargets, key: ServiceKey, *, tenant: str, tls: ChannelTls | None = None
    ) -> None:
        tokens = KeyTokens(key, tenant=tenant)
        self._channels: list[grpc.aio.Channel] = [
            connect(target, audience=audience, tokens=tokens, tls=tls)
            for audience, target in (
                ("registry", targets.registry),
                ("launcher", targets.launcher),
                ("monitor", targets.monitor),
                *(("worker", worker) for worker in targets.workers),
            )
        ]
        self._targets = targets
        registry, launcher, monitor, *workers = self._channels
        self._registry = registry_pb2_grpc.RegistryServiceStub(registry)
        self._launcher = launcher_pb2_grpc.LauncherServiceStub(launcher)
        self._monitor = monitor_pb2_grpc.MonitorServiceStub(monitor)
        stubs = map(worker_pb2_grpc.WorkerServiceStub, workers)
        self._loaded = LoadedVersions(dict(zip(targets.workers, stubs, strict=True)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels:
            await channel.close()

    async def publish(self, model: str, folder: Path) -> registry_pb2.PublishVersionResponse:
        """Upload a folder's files as one version of the model.

        Raises:
            NotFoundError: there is no such folder.
            InvalidArgumentError: it is a file, or holds no file, or a link.
        """
        files = list(_files_of(folder))
        if not files:
            raise InvalidArgumentError(f"{folder} holds no file to publish")

        async def parts() -> AsyncIterator[registry_pb2.PublishVersionRequest]:
            header = registry_pb2.PublishHeader(model=model, publish_id=secrets.token_hex(16), files=files)
            yield registry_pb2.PublishVersionRequest(header=header)
            for file in files:
                for chunk in _chunks_of(folder, file.path):
                    yield registry_pb2.PublishVersionRequest(chunk=chunk)

        with explained(self._targets.registry):
            return await self._registry.PublishVersion(parts(), timeout=_PUBLISH_TIMEOUT_S)

    async def set_alias(
        self, model: str, alias: str, version: int, *, reason: str, expected_sequence: int | None = None
    ) -> registry_pb2.AliasEvent:
        """Point an alias to a version; with `expected_sequence`, only if the alias has not moved since."""
        request = registry_pb2.SetAliasRequest(
            model=model, alias=alias, version=version, reason=reason, request_id=secrets.token_hex(16)
        )
        if expected_sequence is not None:
            request.expected_sequence = expected_sequence
        with explained(self._targets.registry):
            return (await self._registry.SetAlias(request)).event

    async def alias(self, model: str, alias: str, *, at: datetime | None = None) -> registry_pb2.AliasEvent:
        """Where an alias points, now or at a past time."""
        request = registry_pb2.GetAliasRequest(model=model, alias=alias)
        if at is not None:
            request.at_time.FromDatetime(at)
        with explained(self._targets.registry):
            return (await self._registry.GetAlias(request)).event

    async def alias_events(self, model: str, alias: str) -> list[registry_pb2.AliasEvent]:
        """Every move of an alias, oldest first."""
        events: list[registry_pb2.AliasEvent] = []
        token = ""
        while True:
            request = registry_pb2.ListAliasEventsRequest(
                model=model, alias=alias, page_size=_PAGE_SIZE, page_token=token
            )
            with explained(self._targets.registry):
                page = await self._registry.ListAliasEvents(request)
            events += page.events
            token = page.next_page_token
            if not token:
                return events

    async def models(self) -> list[registry_pb2.ModelSummary]:
        """The tenant's models, by name."""
        models: list[registry_pb2.ModelSummary] = []
        token = ""
        while True:
            with explained(self._targets.registry):
                page = await self._registry.ListModels(
                    registry_pb2.ListModelsRequest(page_size=_PAGE_SIZE, page_token=token)
                )
            models += page.models
            token = page.next_page_token
            if not token:
                return models

    async def version(self, model: str, number: int) -> registry_pb2.ModelVersion:
        with explained(self._targets.registry):
            request = registry_pb2.GetVersionRequest(model=model, number=number)
            return (await self._registry.GetVersion(request)).version

    async def file(self, model: str, number: int, path: str) -> bytes:
        """One file of a version."""
        request = registry_pb2.DownloadFileRequest(model=model, number=number, path=path)
        data = bytearray()
        with explained(self._targets.registry):
            async for part in self._registry.DownloadFile(request, timeout=_PUBLISH_TIMEOUT_S):
                data += part.data
        return bytes(data)

    async def submit_job(
        self, model: str, recipe: str, *, overrides: dict[str, str], request_id: str = ""
    ) -> launcher_pb2.SubmitJobResponse:
        """Start a training job; a request id used before returns the job it made."""
        request = launcher_pb2.SubmitJobRequest(
            request_id=request_id or secrets.token_hex(16), model=model, recipe=recipe, overrides=overrides
        )
        with explained(self._targets.launcher):
            return await self._launcher.SubmitJob(request)

    async def job(self, job_id: str) -> launcher_pb2.Job:
        with explained(self._targets.launcher):
            return (await self._launcher.GetJob(launcher_pb2.GetJobRequest(id=job_id))).job

    async def watch_job(
        self, job_id: str, *, timeout_s: float, patience_s: float = 30.0
    ) -> AsyncIterator[launcher_pb2.Job]:
        """The job now, and at each change, until it has ended.

        A stream that is cut (the launcher restarts, or ends a stream that got old) is taken up again.

        Args:
            job_id: the job.
            timeout_s: for all of it.
            patience_s: how long the launcher may be away before its absence is an error.
        """
        loop = asyncio.get_running_loop()
        ends_at_s = loop.time() + timeout_s
        heard_at_s = loop.time()
        while True:
            left_s = ends_at_s - loop.time()
            try:
                with explained(self._targets.launcher):
                    request = launcher_pb2.WatchJobRequest(id=job_id)
                    async for update in self._launcher.WatchJob(request, timeout=max(left_s, 0.001)):
                        heard_at_s = loop.time()
                        yield update.job
                        if update.job.state in _ENDED:
                            return
            except (UnavailableError, DeadlineExceededError):
                if loop.time() > min(ends_at_s, heard_at_s + patience_s):
                    raise
            await asyncio.sleep(_WATCH_PAUSE_S)

    async def cancel_job(self, job_id: str, *, reason: str) -> launcher_pb2.Job:
        with explained(self._targets.launcher):
            request = launcher_pb2.CancelJobRequest(id=job_id, reason=reason)
            return (await self._launcher.CancelJob(request)).job

    async def jobs(self) -> list[launcher_pb2.Job]:
        """The newest jobs first, at most 1,000."""
        with explained(self._targets.launcher):
            response = await self._launcher.ListJobs(launcher_pb2.ListJobsRequest(page_size=_PAGE_SIZE))
        return list(response.jobs)

    async def job_log(self, job_id: str) -> bytes:
        """What a job has written so far."""
        data = bytearray()
        with explained(self._targets.launcher):
            async for part in self._launcher.ReadJobLog(launcher_pb2.ReadJobLogRequest(id=job_id), timeout=30.0):
                data += part.data
        return bytes(data)

    async def report(self, model: str, version: int | None = None) -> monitor_pb2.GetReportResponse:
        """What a model's versions did, as far as the monitor has read the log."""
        with explained(self._targets.monitor):
            return await self._monitor.GetReport(monitor_pb2.GetReportRequest(model=model, version=version or 0))

    async def usage(self, start: datetime, end: datetime, span_s: int) -> monitor_pb2.GetUsageResponse:
        """What the tenant used in each span that begins in [start, end)."""
        request = monitor_pb2.GetUsageRequest(span_s=span_s)
        request.start_time.FromDatetime(start)
        request.end_time.FromDatetime(end)
        with explained(self._targets.monitor):
            return await self._monitor.GetUsage(request)

    async def watch_loaded(self, *, timeout_s: float) -> AsyncGenerator[list[worker_pb2.LoadedVersion]]:
        """All that the workers hold of the tenant's versions: now, and again at each change and heartbeat.

        Raises:
            UnavailableError: all are away, or restart.
            DeadlineExceededError: after `timeout_s`.
        """
        async with aclosing(self._loaded.watch(timeout_s=timeout_s)) as watch:
            async for versions in watch:
                yield versions

    async def loaded(self, *, timeout_s: float = 5.0) -> list[worker_pb2.LoadedVersion]:
        """What the workers hold now."""
        async with aclosing(self._loaded.watch(timeout_s=timeout_s)) as watch:
            async for versions in watch:
                return versions
        raise UnavailableError("the worker said nothing; it may be restarting")


def _files_of(folder: Path) -> Iterator[signed_pb2.FileDigest]:
    if not folder.is_dir():
        if folder.exists():
            raise InvalidArgumentError(f"{folder} is a file; publish takes the folder of a model package")
        raise NotFoundError(f"folder {folder} does not exist")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise InvalidArgumentError(f"{name} is a link; a version is made of files only")
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            yield signed_pb2.FileDigest(path=name, size_bytes=path.stat().st_size, sha256=digest)


def _chunks_of(folder: Path, name: str) -> Iterator[registry_pb2.FileChunk]:
    offset = 0
    with (folder / name).open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            yield registry_pb2.FileChunk(path=name, offset_bytes=offset, data=data)
            offset += len(data)
