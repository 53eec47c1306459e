# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Versions from the registry service: the adapter of ports.VersionSource.

Owns: the calls, the check of the signed record and of its tombstone, and what the registry's refusals mean for a caller
of this service.
Data path: GetVersion -> envelope -> verify_manifest -> files; DownloadFile -> chunks -> bytes (checked by the caller).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc as pb_grpc
from dragoman_common.audit import Audit
from dragoman_common.auth import calling_as
from dragoman_common.errors import (
    DataLossError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from dragoman_common.status import translated
from dragoman_models.tombstone import verify_tombstone
from dragoman_models.verify import VerifyingKeys, verify_manifest
from dragoman_tokenizer.version import VerifiedVersion, VersionName, VersionNotFoundError, WithdrawnVersionError

_audit = Audit("tokenizer")


class RegistryVersionSource:
    """Asks the registry, on behalf of the tenant of each version, and believes only what a trusted key signed."""

    def __init__(self, channel: grpc.aio.Channel, keys: VerifyingKeys) -> None:
        self._registry = pb_grpc.RegistryServiceStub(channel)
        self._keys = keys

    async def manifest(self, name: VersionName) -> VerifiedVersion:
        """See VersionSource."""
        with _asking(name, f"there is no {name}"):
            reply = await self._registry.GetVersion(pb.GetVersionRequest(model=name.model, number=name.number))
        # Beside the envelope the reply repeats the record for display; none of that is read.
        manifest = verify_manifest(
            reply.version.manifest.envelope, self._keys, tenant=name.tenant, model=name.model, number=name.number
        )
        if reply.version.HasField("tombstone"):
            self._check_tombstone(name, reply.version.tombstone.record.envelope, manifest.root_sha256)
        return VerifiedVersion(manifest.root_sha256, {file.path: file for file in manifest.files})

    def _check_tombstone(self, name: VersionName, envelope: bytes, root_sha256: str) -> None:
        where = f"{name.tenant}/{name.model}/tombstones/{name.number}"
        try:
            record = verify_tombstone(envelope, self._keys, tenant=name.tenant, model=name.model, version=name.number)
        except DataLossError as error:
            # Whoever can write to the store, and cannot sign, takes no good version down.
            _audit.refused(where, f"{error.message}; the version stays in use")
            return
        if record.root_sha256 != root_sha256:
            _audit.refused(where, "it speaks of other content; the version stays in use")
            return
        raise WithdrawnVersionError(name, record.reason)

    async def key_list(self) -> bytes:
        """Return the registry's chain of key lists, unverified.

        Raises:
            NotFoundError, UnimplementedError: it has none.
            DragomanError: it is away.
        """
        with calling_as(""), translated():
            reply: pb.GetKeyListResponse = await self._registry.GetKeyList(pb.GetKeyListRequest())
        return reply.key_chain

    async def read(self, name: VersionName, path: str, max_bytes: int) -> bytes:
        """See VersionSource."""
        data = bytearray()
        with _asking(name, f"{name} has no file {path}"):
            call = self._registry.DownloadFile(pb.DownloadFileRequest(model=name.model, number=name.number, path=path))
            async for chunk in call:
                data += chunk.data
                if len(data) > max_bytes:
                    call.cancel()
                    break
        return bytes(data)


@contextmanager
def _asking(name: VersionName, absent: str) -> Iterator[None]:
    try:
        with calling_as(name.tenant), translated():
            yield
    except NotFoundError as error:
        raise VersionNotFoundError(absent) from error
    except (UnauthenticatedError, PermissionDeniedError) as error:
        # Ours to mend, not the caller's: passed on as it is, it would read as if the caller's own token were refused.
        raise UnavailableError("the registry does not accept this service's identity: tell the operator") from error
