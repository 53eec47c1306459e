# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A registry over real gRPC, for tests: real signatures over versions held in memory."""

import hashlib
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from dragoman.common.v1.signed_pb2 import SignedRecord
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc as pb_grpc
from dragoman_common.auth import current_caller
from dragoman_common.channel import connect
from dragoman_common.errors import NotFoundError, UnimplementedError
from dragoman_common.server import Service
from dragoman_common.testing import running
from dragoman_models.file_digest import FileDigest, root_sha256
from dragoman_models.package import InputLimits, TokenizerFile
from dragoman_models.record import VersionManifest
from dragoman_models.signing import SigningKey, sign_manifest
from dragoman_models.tombstone import TombstoneRecord, sign_tombstone
from dragoman_models.verify import VerifyingKeys

_METHODS = pb.DESCRIPTOR.services_by_name["RegistryService"].methods
POLICY = {f"/dragoman.registry.v1.RegistryService/{method.name}": frozenset({"tokenizer"}) for method in _METHODS}
_CHUNK_BYTES = 64 * 1024


class RegistryServer(pb_grpc.RegistryServiceServicer):
    """Holds versions by tenant; signs with its own key."""

    def __init__(self):
        self.key = SigningKey.generate()
        self.trusted = VerifyingKeys([self.key.public_key])
        self._envelopes = {}
        self._files = {}
        self._roots = {}
        self._tombstones = {}
        self.num_calls = 0
        self.key_chain = None

    def publish(self, tenant, model, number, files, *, key=None, signed_as=None):
        """Store a version; `signed_as` signs it for another (tenant, model, number)."""
        listed = tuple(
            FileDigest(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for path, data in sorted(files.items())
        )
        named = signed_as or (tenant, model, number)
        manifest = VersionManifest(
            tenant=named[0],
            model=named[1],
            number=named[2],
            root_sha256=root_sha256(listed),
            files=listed,
            task="text-classification",
            architecture="linear",
            labels=("grain", "ship"),
            input_limits=InputLimits(),
            tokenizer=TokenizerFile(backend="basic_english"),
            publish_time=datetime(2026, 1, 1, tzinfo=UTC),
            publisher="operator/someone",
            publish_id="p1",
            nonce="n1",
        )
        self._envelopes[tenant, model, number] = sign_manifest(manifest, key or self.key)
        self._files[tenant, model, number] = dict(files)
        self._roots[tenant, model, number] = manifest.root_sha256

    def tamper(self, tenant, model, number, path, data):
        self._files[tenant, model, number][path] = data

    def forge(self, tenant, model, number):
        self.publish(tenant, model, number, self._files[tenant, model, number], key=SigningKey.generate())

    def withdraw(self, tenant, model, number, *, is_forged=False, root_sha256=None, signed_as=None):
        """Add a tombstone; `signed_as` signs it for another (tenant, model, number)."""
        named = signed_as or (tenant, model, number)
        record = TombstoneRecord(
            tenant=named[0],
            model=named[1],
            version=named[2],
            root_sha256=root_sha256 or self._roots[tenant, model, number],
            reason="leaked rows",
            withdrawn_by="operator:ada",
            withdraw_time=datetime(2026, 1, 2, tzinfo=UTC),
            nonce="n1",
        )
        key = SigningKey.generate() if is_forged else self.key
        self._tombstones[tenant, model, number] = sign_tombstone(record, key)

    async def GetVersion(self, request, context):
        self.num_calls += 1
        key = (current_caller().tenant, request.model, request.number)
        if key not in self._envelopes:
            raise NotFoundError("no such version")
        record = SignedRecord(envelope=self._envelopes[key])
        version = pb.ModelVersion(root_sha256="f" * 64, manifest=record)
        if key in self._tombstones:
            version.tombstone.record.envelope = self._tombstones[key]
        return pb.GetVersionResponse(version=version)

    async def GetKeyList(self, request, context):
        if self.key_chain is None:
            raise UnimplementedError("of before there were lists")
        return pb.GetKeyListResponse(key_chain=self.key_chain)

    async def DownloadFile(self, request, context):
        self.num_calls += 1
        files = self._files.get((current_caller().tenant, request.model, request.number), {})
        if request.path not in files:
            raise NotFoundError("no such file")
        data = files[request.path]
        for start in range(0, len(data), _CHUNK_BYTES):
            yield pb.DownloadFileResponse(data=data[start : start + _CHUNK_BYTES])


@asynccontextmanager
async def registry_running(registry, keys, *, caller="tokenizer"):
    """Serve `registry`; yields a channel on which `caller` asks it."""
    service = Service(register=pb_grpc.add_RegistryServiceServicer_to_server, servicer=registry)
    async with running([service], POLICY, name="registry", keys=keys) as server:
        async with connect(server.target, audience="registry", tokens=keys.tokens(caller)) as channel:
            yield channel
