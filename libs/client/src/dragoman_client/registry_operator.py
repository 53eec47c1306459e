# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""An operator's calls to the registry about trust: evidence, approvals, gate policies, withdrawal, verification.

Owns one channel with the operator's credential; answers with the registry's own messages. Publishing and lists are
operator_client's.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Self

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import registry_pb2, registry_pb2_grpc
from dragoman_common.channel import connect
from dragoman_common.service_keys import KeyTokens, ServiceKey
from dragoman_common.status import translated
from dragoman_common.tls import ChannelTls
from dragoman_models.file_digest import FileDigest

_PAGE_SIZE = 1000
_TRANSFER_TIMEOUT_S = 600.0


class RegistryOperator:
    """Use with `async with`. Every call has a deadline, and raises a `DragomanError` when it fails."""

    def __init__(self, target: str, key: ServiceKey, *, tenant: str, tls: ChannelTls | None = None) -> None:
        self._channel = connect(target, audience="registry", tokens=KeyTokens(key, tenant=tenant), tls=tls)
        self._registry = registry_pb2_grpc.RegistryServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def version(self, model: str, number: int) -> registry_pb2.ModelVersion:
        with translated():
            request = registry_pb2.GetVersionRequest(model=model, number=number)
            return (await self._registry.GetVersion(request)).version

    async def file(self, model: str, number: int, path: str) -> AsyncIterator[bytes]:
        """One file of a version, piece by piece."""
        request = registry_pb2.DownloadFileRequest(model=model, number=number, path=path)
        with translated():
            async for part in self._registry.DownloadFile(request, timeout=_TRANSFER_TIMEOUT_S):
                yield part.data

    async def publish(
        self,
        model: str,
        files: Sequence[FileDigest],
        content: Callable[[FileDigest], Iterator[bytes]],
        *,
        number: int,
        lineage: registry_pb2.Lineage,
    ) -> registry_pb2.PublishVersionResponse:
        """Upload files as one version; a number of 0 takes the next one."""

        async def parts() -> AsyncIterator[registry_pb2.PublishVersionRequest]:
            header = registry_pb2.PublishHeader(
                model=model,
                publish_id=secrets.token_hex(16),
                number=number,
                files=[
                    signed_pb2.FileDigest(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
                    for file in files
                ],
                lineage=lineage,
            )
            yield registry_pb2.PublishVersionRequest(header=header)
            for file in files:
                offset = 0
                for data in content(file):
                    chunk = registry_pb2.FileChunk(path=file.path, offset_bytes=offset, data=data)
                    yield registry_pb2.PublishVersionRequest(chunk=chunk)
                    offset += len(data)

        with translated():
            return await self._registry.PublishVersion(parts(), timeout=_TRANSFER_TIMEOUT_S)

    async def collect_garbage(self, *, dry_run: bool) -> registry_pb2.CollectGarbageResponse:
        """Condemn what nothing refers to, delete what was condemned before and has waited."""
        request = registry_pb2.CollectGarbageRequest(dry_run=dry_run)
        with translated():
            return await self._registry.CollectGarbage(request, timeout=_TRANSFER_TIMEOUT_S)

    async def lineage(
        self, model: str, *, version: int = 0, data_sha256: str = "", job_id: str = ""
    ) -> list[registry_pb2.LineageEntry]:
        """The family of a version, or the versions of training rows, or of a job: set one."""
        request = registry_pb2.GetLineageRequest(model=model)
        if version:
            request.version = version
        elif data_sha256:
            request.data_sha256 = data_sha256
        else:
            request.job_id = job_id
        with translated():
            return list((await self._registry.GetLineage(request)).entries)

    async def add_evidence(
        self, model: str, version: int, *, kind: str, document: str, root_sha256: str = ""
    ) -> registry_pb2.AddEvidenceResponse:
        """Add a document about a version; with `root_sha256`, only if that is its content."""
        request = registry_pb2.AddEvidenceRequest(
            model=model, version=version, kind=kind, document=document, root_sha256=root_sha256
        )
        with translated():
            return await self._registry.AddEvidence(request)

    async def evidence(self, model: str, version: int, *, kind: str = "") -> list[registry_pb2.Evidence]:
        """The evidence of a version, oldest first."""
        found: list[registry_pb2.Evidence] = []
        token = ""
        while True:
            request = registry_pb2.ListEvidenceRequest(
                model=model, version=version, kind=kind, page_size=_PAGE_SIZE, page_token=token
            )
            with translated():
                page = await self._registry.ListEvidence(request)
            found += page.evidence
            token = page.next_page_token
            if not token:
                return found

    async def policy(self, model: str, *, sequence: int = 0) -> registry_pb2.GatePolicy:
        """The model's gate policy: the event of that sequence, or the newest."""
        request = registry_pb2.GetGatePolicyRequest(model=model, sequence=sequence)
        with translated():
            return (await self._registry.GetGatePolicy(request)).policy

    async def set_policy(
        self, model: str, rules: Sequence[registry_pb2.GateRule], *, reason: str
    ) -> registry_pb2.GatePolicy:
        """Replace the model's gate policy."""
        request = registry_pb2.SetGatePolicyRequest(
            model=model, rules=rules, reason=reason, request_id=secrets.token_hex(16)
        )
        with translated():
            return (await self._registry.SetGatePolicy(request)).policy

    async def key_list(self) -> bytes:
        """The chain of key lists that the registry believes, unverified."""
        with translated():
            return (await self._registry.GetKeyList(registry_pb2.GetKeyListRequest())).key_chain

    async def repair(
        self, model: str, alias: str, *, reason: str, events: Sequence[bytes]
    ) -> registry_pb2.RepairChainResponse:
        """Put lost events back, or, with none, accept their loss; an empty alias means the gate policy."""
        request = registry_pb2.RepairChainRequest(
            model=model,
            alias=alias,
            reason=reason,
            events=[signed_pb2.SignedRecord(envelope=envelope) for envelope in events],
        )
        with translated():
            return await self._registry.RepairChain(request)

    async def withdraw(self, model: str, version: int, *, reason: str) -> registry_pb2.Tombstone:
        """Take a version out of use for good."""
        request = registry_pb2.WithdrawVersionRequest(model=model, version=version, reason=reason)
        with translated():
            return (await self._registry.WithdrawVersion(request)).tombstone

    async def aliases(self, model: str) -> list[str]:
        """The names of a model's aliases."""
        with translated():
            token = ""
            while True:
                request = registry_pb2.ListModelsRequest(page_size=_PAGE_SIZE, page_token=token)
                page = await self._registry.ListModels(request)
                for found in page.models:
                    if found.model == model:
                        return [event.alias for event in found.aliases]
                token = page.next_page_token
                if not token:
                    return []

    async def alias_events(self, model: str, alias: str) -> list[registry_pb2.AliasEvent]:
        """Every move of an alias, oldest first."""
        events: list[registry_pb2.AliasEvent] = []
        token = ""
        while True:
            request = registry_pb2.ListAliasEventsRequest(
                model=model, alias=alias, page_size=_PAGE_SIZE, page_token=token
            )
            with translated():
                page = await self._registry.ListAliasEvents(request)
            events += page.events
            token = page.next_page_token
            if not token:
                return events

    async def set_alias(
        self, model: str, alias: str, version: int, *, reason: str, expected_sequence: int
    ) -> registry_pb2.AliasEvent:
        """Point an alias to a version, if it has not moved since."""
        request = registry_pb2.SetAliasRequest(
            model=model,
            alias=alias,
            version=version,
            reason=reason,
            expected_sequence=expected_sequence,
            request_id=secrets.token_hex(16),
        )
        with translated():
            return (await self._registry.SetAlias(request)).event
