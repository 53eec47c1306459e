# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets in the registry's store, from where training pods read them.

Owns what of a folder is sent, and the operator's calls about it. What the store holds is the registry's.

    folder -> plain files only, a split that training can use -> digests -> PutDataSet -> the digest that we know
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Self

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import data_pb2, data_pb2_grpc
from dragoman_client.datasets_check import SUFFIXES, check_split
from dragoman_common.channel import connect
from dragoman_common.errors import DataLossError, InvalidArgumentError, NotFoundError
from dragoman_common.service_keys import KeyTokens, ServiceKey
from dragoman_common.status import translated
from dragoman_common.tls import ChannelTls
from dragoman_models.data_set import check_data_files, data_sha256
from dragoman_models.file_digest import FileDigest

VECTORS_FILE = "vectors.txt"
CHUNK_BYTES = 1 << 20
PUT_TIMEOUT_S = 3600.0
_PAGE_SIZE = 1000


def data_files(folder: Path) -> tuple[FileDigest, ...]:
    """Return the files of a folder that is a data set, with their digests.

    Raises:
        NotFoundError: there is no such folder.
        InvalidArgumentError: a folder or link in it, a name that is not allowed, or nothing that training can use.
    """
    if not folder.is_dir():
        raise NotFoundError(f"{folder} is not a folder")
    paths = sorted(folder.iterdir())
    if strange := [path for path in paths if path.is_symlink() or not path.is_file()]:
        raise InvalidArgumentError(f"{strange[0]} is not a plain file; a data set is one folder of plain files")
    parts = {
        part: [path for path in paths if path.stem == part and path.suffix in SUFFIXES] for part in ("train", "test")
    }
    if all(parts.values()):
        check_split(parts["train"][0], parts["test"][0])
    elif not (folder / VECTORS_FILE).is_file():
        raise InvalidArgumentError(
            f"{folder} has neither train and test ({', '.join(SUFFIXES)}) nor {VECTORS_FILE}; training reads these"
        )
    return check_data_files(
        FileDigest(path=path.name, size_bytes=path.stat().st_size, sha256=_digest(path)) for path in paths
    )


class DataStoreOperator:
    """An operator's calls about data sets. Use with `async with`; each raises a `DragomanError` when it fails."""

    def __init__(self, target: str, key: ServiceKey, *, tenant: str, tls: ChannelTls | None = None) -> None:
        self._channel = connect(target, audience="registry", tokens=KeyTokens(key, tenant=tenant), tls=tls)
        self._data = data_pb2_grpc.DataServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def put(self, name: str, folder: Path, files: Sequence[FileDigest]) -> data_pb2.PutDataSetResponse:
        """Keep the files of a folder under a name; files as data_files returned them.

        Raises:
            DataLossError: the registry says that it keeps something else.
        """

        async def parts() -> AsyncIterator[data_pb2.PutDataSetRequest]:
            listed = [
                signed_pb2.FileDigest(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256) for file in files
            ]
            yield data_pb2.PutDataSetRequest(header=data_pb2.DataSetHeader(name=name, files=listed))
            for file in files:
                with (folder / file.path).open("rb") as opened:
                    offset = 0
                    while data := opened.read(CHUNK_BYTES):
                        chunk = data_pb2.DataChunk(path=file.path, offset_bytes=offset, data=data)
                        yield data_pb2.PutDataSetRequest(chunk=chunk)
                        offset += len(data)

        with translated():
            reply = await self._data.PutDataSet(parts(), timeout=PUT_TIMEOUT_S)
        if reply.data_set.sha256 != data_sha256(files):
            raise DataLossError(f"data set {name}: the registry answers with the digest {reply.data_set.sha256[:80]!r}")
        return reply

    async def names(self) -> list[data_pb2.DataSet]:
        """The newest data set of each name."""
        found: list[data_pb2.DataSet] = []
        token = ""
        while True:
            with translated():
                request = data_pb2.ListDataSetsRequest(page_size=_PAGE_SIZE, page_token=token)
                page = await self._data.ListDataSets(request)
            found += page.data_sets
            token = page.next_page_token
            if not token:
                return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
