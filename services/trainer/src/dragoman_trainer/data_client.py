# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry as a DataSource. Adapter: speaks dragoman.registry.v1.DataService."""

from collections.abc import Iterator, Sequence

import grpc

from dragoman.registry.v1 import data_pb2 as pb
from dragoman.registry.v1 import data_pb2_grpc
from dragoman_common.errors import UnavailableError
from dragoman_common.status import error_from_rpc
from dragoman_models.data_set import StoredName
from dragoman_models.file_digest import FileDigest
from dragoman_trainer.call import Credential, call_with_retries

LIST_TIMEOUT_S = 30.0
DOWNLOAD_TIMEOUT_S = 3600.0
MAX_BREAKS = 10
"""Of one file; a break after fresh bytes costs one, and so does one without."""


class RegistryData:
    """Reads data sets of the job's tenant."""

    def __init__(self, channel: grpc.Channel, token: Credential) -> None:
        """Read over a channel that the caller closes."""
        self._stub = data_pb2_grpc.DataServiceStub(channel)
        self._token = token

    def files(self, stored: StoredName) -> tuple[str, Sequence[FileDigest]]:
        """See DataSource."""
        request = pb.GetDataSetRequest(name=stored.name, sha256=stored.sha256)
        found = call_with_retries(
            "finding the data set",
            lambda: self._stub.GetDataSet(request, timeout=LIST_TIMEOUT_S, metadata=self._token.metadata()),
        ).data_set
        files = [FileDigest(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256) for file in found.files]
        return found.sha256, files

    def read(self, name: str, sha256: str, file: FileDigest) -> Iterator[bytes]:
        """See DataSource."""
        offset = 0
        for num_breaks in range(MAX_BREAKS + 1):
            request = pb.DownloadDataFileRequest(name=name, sha256=sha256, path=file.path, offset_bytes=offset)
            try:
                for reply in call_with_retries("reading the data set", lambda: self._opened(request)):  # noqa: B023  called at once
                    yield reply.data
                    offset += len(reply.data)
            except grpc.RpcError as failure:
                error = error_from_rpc(failure)
                if not isinstance(error, UnavailableError) or num_breaks == MAX_BREAKS:
                    raise error from failure
            else:
                return

    def _opened(self, request: pb.DownloadDataFileRequest) -> "Iterator[pb.DownloadDataFileResponse]":
        stream = self._stub.DownloadDataFile(request, timeout=DOWNLOAD_TIMEOUT_S, metadata=self._token.metadata())
        first = next(stream, None)
        return iter(()) if first is None else _chained(first, stream)


def _chained(
    first: pb.DownloadDataFileResponse, rest: Iterator[pb.DownloadDataFileResponse]
) -> Iterator[pb.DownloadDataFileResponse]:
    yield first
    yield from rest
