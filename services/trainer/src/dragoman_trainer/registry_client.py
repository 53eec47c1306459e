# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry as a Publisher. Adapter: the one place that speaks dragoman.registry.v1."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import grpc

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.errors import InvalidArgumentError, NotFoundError, UnavailableError
from dragoman_trainer.call import Credential, call_with_retries
from dragoman_trainer.ports import Lineage, Published

CHUNK_BYTES = 1 << 20
PUBLISH_TIMEOUT_S = 300.0
LOOK_TIMEOUT_S = 30.0
OTHER_CONTENT = "was used for other content"
"""What the registry says of a publish id that came before with other files."""


class RegistryPublisher:
    """Publishes a package as the next version of one model."""

    def __init__(self, channel: grpc.Channel, token: Credential, *, model: str, job_id: str) -> None:
        """Publish for one job over a channel that the caller closes."""
        self._stub = registry_pb2_grpc.RegistryServiceStub(channel)
        self._token = token
        self._model = model
        self._job_id = job_id

    def published(self) -> Published | None:
        """See Publisher."""
        request = pb.GetLineageRequest(model=self._model, job_id=self._job_id)
        try:
            found = call_with_retries(
                "looking for the job's version",
                lambda: self._stub.GetLineage(request, timeout=LOOK_TIMEOUT_S, metadata=self._token.metadata()),
            )
        except NotFoundError:
            return None
        if not found.entries:
            return None
        return Published(version=found.entries[0].version, root_sha256=found.entries[0].root_sha256)

    def publish(self, package_dir: Path, lineage: Lineage) -> Published:
        """See Publisher. A retry sends the same publish id, and the registry then makes no second version."""
        header = pb.PublishHeader(
            model=self._model,
            publish_id=self._job_id,
            files=[_file_digest(path) for path in _files(package_dir)],
            lineage=pb.Lineage(job_id=self._job_id, recipe=lineage.recipe, data_sha256=lineage.data_sha256),
        )
        try:
            response = call_with_retries(
                "publishing",
                lambda: self._stub.PublishVersion(
                    publish_requests(header, package_dir), timeout=PUBLISH_TIMEOUT_S, metadata=self._token.metadata()
                ),
            )
        except InvalidArgumentError as error:
            # Two processes of one job may differ in the last bits when their machines do: the first one counts.
            if OTHER_CONTENT not in error.message:
                raise
            if (published := self.published()) is not None:
                return published
            raise UnavailableError("another process of this job is publishing; its version will count") from error
        return Published(version=response.version.number, root_sha256=response.version.root_sha256)


def publish_requests(header: pb.PublishHeader, package_dir: Path) -> Iterator[pb.PublishVersionRequest]:
    """Yield the upload: the header, then every file in the header's order in chunks of at most 1 MiB."""
    yield pb.PublishVersionRequest(header=header)
    for entry in header.files:
        with (package_dir / entry.path).open("rb") as file:
            offset = 0
            while data := file.read(CHUNK_BYTES):
                chunk = pb.FileChunk(path=entry.path, offset_bytes=offset, data=data)
                yield pb.PublishVersionRequest(chunk=chunk)
                offset += len(data)


def _files(package_dir: Path) -> list[Path]:
    return sorted(path for path in package_dir.iterdir() if path.is_file())


def _file_digest(path: Path) -> signed_pb2.FileDigest:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return signed_pb2.FileDigest(path=path.name, size_bytes=path.stat().st_size, sha256=digest)
