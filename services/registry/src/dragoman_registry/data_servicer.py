# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""dragoman.registry.v1.DataService: data sets, and the checkpoints of the job that a token is for.

The tenant of every call is the caller's. A job's checkpoints are that job's alone: no request names a job.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dragoman.registry.v1 import data_pb2 as pb
from dragoman.registry.v1 import data_pb2_grpc
from dragoman_common.auth import PolicyTable
from dragoman_common.errors import (
    DragomanError,
    InvalidArgumentError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
)
from dragoman_common.names import check_name
from dragoman_models.file_digest import is_digest
from dragoman_registry import convert, layout
from dragoman_registry.acting import caller_and_tenant, who
from dragoman_registry.checkpoint_book import CheckpointBook
from dragoman_registry.data_book import DataBook, DataPut, check_put
from dragoman_registry.download import Downloads
from dragoman_registry.paging import page_size
from dragoman_registry.publish_servicer import drain
from dragoman_registry.settings import RegistrySettings
from dragoman_registry.upload import Chunk

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any

MAX_LISTED_FILES = 3000
"""Of one page of data sets, which is one message."""

_SERVICE = "/dragoman.registry.v1.DataService"
_READERS = frozenset({"operator", "trainer", "launcher"})

DATA_POLICY: PolicyTable = {
    f"{_SERVICE}/PutDataSet": frozenset({"operator"}),
    **{f"{_SERVICE}/{name}": _READERS for name in ("GetDataSet", "ListDataSets", "DownloadDataFile")},
    **{f"{_SERVICE}/{name}": frozenset({"trainer"}) for name in ("PutCheckpoint", "GetCheckpoint", "DropCheckpoints")},
}


class DataServicer(data_pb2_grpc.DataServiceServicer):
    """Answers DataService."""

    def __init__(
        self, *, settings: RegistrySettings, data: DataBook, checkpoints: CheckpointBook, downloads: Downloads
    ) -> None:
        """Wire the parts."""
        self._settings = settings
        self._data = data
        self._checkpoints = checkpoints
        self._downloads = downloads
        self._num_uploads = 0

    async def PutDataSet(  # noqa: N802 - the name of the RPC
        self, request_iterator: AsyncIterator[pb.PutDataSetRequest], _context: Context
    ) -> pb.PutDataSetResponse:
        try:
            with self._upload():
                return await self._put_data_set(request_iterator)
        except DragomanError:
            await drain(request_iterator)
            raise

    async def GetDataSet(self, request: pb.GetDataSetRequest, _context: Context) -> pb.GetDataSetResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        stored = await self._data.get(tenant, *_wanted(request.name, request.sha256))
        return pb.GetDataSetResponse(data_set=convert.data_set_to_pb(stored))

    async def ListDataSets(self, request: pb.ListDataSetsRequest, _context: Context) -> pb.ListDataSetsResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        size = page_size(request.page_size)
        names = [name for name in await self._data.names(tenant) if name > request.page_token]
        # A thousand lists of files would not fit into one message.
        page: list[pb.DataSet] = []
        num_files = 0
        for name in names[:size]:
            stored = await self._data.get(tenant, name)
            num_files += len(stored.record.files)
            if page and num_files > MAX_LISTED_FILES:
                break
            page.append(convert.data_set_to_pb(stored))
        token = page[-1].name if len(page) < len(names) and page else ""
        return pb.ListDataSetsResponse(data_sets=page, next_page_token=token)

    async def DownloadDataFile(  # noqa: N802 - the name of the RPC
        self, request: pb.DownloadDataFileRequest, _context: Context
    ) -> AsyncIterator[pb.DownloadDataFileResponse]:
        _, tenant = caller_and_tenant()
        record = (await self._data.get(tenant, *_wanted(request.name, request.sha256))).record
        file = next((file for file in record.files if file.path == request.path), None)
        if file is None:
            raise NotFoundError(f"data set {record.name} has no file {request.path[:80]!r}")
        what = f"{tenant}/data/{record.name}/{record.number}"
        key = layout.blob(tenant, file.sha256)
        async for data in self._downloads.checked(key, file, what=what, offset_bytes=request.offset_bytes):
            yield pb.DownloadDataFileResponse(data=data)

    async def PutCheckpoint(  # noqa: N802 - the name of the RPC
        self, request_iterator: AsyncIterator[pb.PutCheckpointRequest], _context: Context
    ) -> pb.PutCheckpointResponse:
        try:
            with self._upload():
                tenant, job_id = _job()
                first = await anext(request_iterator, None)
                if first is None or first.WhichOneof("part") != "checkpoint":
                    raise InvalidArgumentError("the first message must describe the checkpoint")
                told = first.checkpoint
                await self._checkpoints.put(
                    tenant,
                    job_id,
                    step=told.step,
                    size_bytes=told.size_bytes,
                    sha256=told.sha256,
                    chunks=_content(request_iterator),
                )
                return pb.PutCheckpointResponse()
        except DragomanError:
            await drain(request_iterator)
            raise

    async def GetCheckpoint(  # noqa: N802 - the name of the RPC
        self, request: pb.GetCheckpointRequest, _context: Context
    ) -> AsyncIterator[pb.GetCheckpointResponse]:
        tenant, job_id = _job()
        record = await self._checkpoints.newest(tenant, job_id, before_step=request.before_step)
        told = pb.Checkpoint(step=record.step, size_bytes=record.size_bytes, sha256=record.sha256)
        yield pb.GetCheckpointResponse(checkpoint=told)
        key, file = self._checkpoints.content_of(record)
        what = f"{tenant}/checkpoints/{job_id}/{record.step}"
        async for data in self._downloads.checked(key, file, what=what):
            yield pb.GetCheckpointResponse(data=data)

    async def DropCheckpoints(  # noqa: N802 - the name of the RPC
        self, _request: pb.DropCheckpointsRequest, _context: Context
    ) -> pb.DropCheckpointsResponse:
        await self._checkpoints.drop(*_job())
        return pb.DropCheckpointsResponse()

    async def _put_data_set(self, requests: AsyncIterator[pb.PutDataSetRequest]) -> pb.PutDataSetResponse:
        caller, tenant = caller_and_tenant()
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidArgumentError("the first message of an upload must be its header")
        wish = DataPut(
            tenant=tenant,
            name=first.header.name,
            files=convert.files_from_pb(first.header.files),
            publisher=who(caller),
        )
        wish = check_put(wish, max_file_bytes=self._settings.max_file_bytes, max_bytes=self._settings.max_version_bytes)
        stored, is_new = await self._data.put(wish, _chunks(requests))
        return pb.PutDataSetResponse(data_set=convert.data_set_to_pb(stored), created=is_new)

    @contextmanager
    def _upload(self) -> Iterator[None]:
        if self._num_uploads >= self._settings.max_concurrent_uploads:
            raise OverloadedError(f"{self._num_uploads} uploads are running, which is the limit; try again later")
        self._num_uploads += 1
        try:
            yield
        finally:
            self._num_uploads -= 1


def _wanted(name: str, sha256: str) -> tuple[str, str]:
    check_name(name, field="name")
    if sha256 and not is_digest(sha256):
        raise InvalidArgumentError("sha256 must be empty or 64 lower-case hexadecimal digits")
    return name, sha256


def _job() -> tuple[str, str]:
    caller, tenant = caller_and_tenant()
    if not caller.job_id:
        raise PermissionDeniedError("only a job has checkpoints, and this token is for none")
    return tenant, check_name(caller.job_id, field="job")


async def _chunks(requests: AsyncIterator[pb.PutDataSetRequest]) -> AsyncIterator[Chunk]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgumentError("after the header an upload holds chunks only")
        chunk = request.chunk
        yield Chunk(path=chunk.path, offset_bytes=chunk.offset_bytes, data=chunk.data)


async def _content(requests: AsyncIterator[pb.PutCheckpointRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "data":
            raise InvalidArgumentError("after its description a checkpoint holds data only")
        yield request.data
