# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry's answers about trust: one version, r8/2, really signed, so that what checks signatures has some."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import registry_pb2
from dragoman_common.auth import current_caller
from dragoman_common.errors import NotFoundError
from dragoman_models.evidence import EvidenceRecord, sign_evidence
from dragoman_models.file_digest import FileDigest, check_files, root_sha256
from dragoman_models.package import InputLimits, TokenizerFile
from dragoman_models.record import VersionManifest
from dragoman_models.signing import SigningKey, sign_manifest, sign_model
from dragoman_models.tombstone import TombstoneRecord, sign_tombstone

KEY = SigningKey.generate()
TIME = datetime(2026, 5, 1, 9, 3, tzinfo=UTC)
CONTENT = {"model.json": b"{}", "weights.safetensors": b"weights" * 1000}
FILES = check_files(
    FileDigest(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    for path, data in CONTENT.items()
)
VERSION = VersionManifest(
    tenant="local",
    model="r8",
    number=2,
    root_sha256=root_sha256(FILES),
    files=FILES,
    task="text-classification",
    architecture="rnn",
    labels=("acq", "earn"),
    input_limits=InputLimits(),
    tokenizer=TokenizerFile(backend="basic_english"),
    publish_time=TIME,
    publisher="trainer:j-1",
    publish_id="p1",
    nonce="n1",
)


class Trust:
    """Knows the version above, whatever number is asked for; keeps what it was told."""

    def __init__(self) -> None:
        self.contents = dict(CONTENT)
        self.evidence: list[registry_pb2.Evidence] = []
        self.rules: list[registry_pb2.GateRule] = []
        self.is_withdrawn = False
        self.swapped_events = False
        self.key_chain: bytes | None = None
        self.key_sequence = 1
        self.repairs: list[registry_pb2.RepairChainRequest] = []
        self.key = KEY

    async def GetVersion(self, request: registry_pb2.GetVersionRequest, _: object) -> registry_pb2.GetVersionResponse:
        if request.number == 9:
            raise NotFoundError(f"no version 9 of {request.model!r}")
        version = registry_pb2.ModelVersion(
            tenant="local",
            model="r8",
            number=2,
            root_sha256=VERSION.root_sha256,
            manifest=signed_pb2.SignedRecord(envelope=sign_manifest(VERSION, KEY)),
            signature_bundle=sign_model("r8", FILES, KEY),
            tombstone=_tombstone("leaks") if self.is_withdrawn else None,
        )
        return registry_pb2.GetVersionResponse(version=version)

    async def DownloadFile(
        self, request: registry_pb2.DownloadFileRequest, _: object
    ) -> AsyncIterator[registry_pb2.DownloadFileResponse]:
        data = self.contents[request.path]
        yield registry_pb2.DownloadFileResponse(data=data[:100])
        yield registry_pb2.DownloadFileResponse(data=data[100:])

    async def AddEvidence(
        self, request: registry_pb2.AddEvidenceRequest, _: object
    ) -> registry_pb2.AddEvidenceResponse:
        assert request.root_sha256 == VERSION.root_sha256
        record = EvidenceRecord(
            tenant="local",
            model=request.model,
            version=request.version,
            root_sha256=VERSION.root_sha256,
            kind=request.kind,
            document=request.document,
            added_by=f"operator:{current_caller().subject}",
            add_time=TIME,
        )
        evidence = registry_pb2.Evidence(
            tenant=record.tenant,
            model=record.model,
            version=record.version,
            root_sha256=record.root_sha256,
            kind=record.kind,
            document=record.document,
            added_by=record.added_by,
            digest=record.digest,
            record=signed_pb2.SignedRecord(envelope=sign_evidence(record, KEY)),
        )
        evidence.add_time.FromDatetime(TIME)
        self.evidence.append(evidence)
        return registry_pb2.AddEvidenceResponse(evidence=evidence, created=True)

    async def ListEvidence(
        self, request: registry_pb2.ListEvidenceRequest, _: object
    ) -> registry_pb2.ListEvidenceResponse:
        index = int(request.page_token or 0)
        token = str(index + 1) if index + 1 < len(self.evidence) else ""
        return registry_pb2.ListEvidenceResponse(evidence=self.evidence[index : index + 1], next_page_token=token)

    async def SetGatePolicy(
        self, request: registry_pb2.SetGatePolicyRequest, _: object
    ) -> registry_pb2.SetGatePolicyResponse:
        self.rules = list(request.rules)
        return registry_pb2.SetGatePolicyResponse(policy=self._policy(request.reason))

    async def GetGatePolicy(
        self, _request: registry_pb2.GetGatePolicyRequest, _: object
    ) -> registry_pb2.GetGatePolicyResponse:
        return registry_pb2.GetGatePolicyResponse(policy=self._policy("because"))

    async def GetKeyList(self, _request: registry_pb2.GetKeyListRequest, _: object) -> registry_pb2.GetKeyListResponse:
        if self.key_chain is None:
            raise NotFoundError("plain keys")
        return registry_pb2.GetKeyListResponse(key_chain=self.key_chain, sequence=self.key_sequence)

    async def RepairChain(
        self, request: registry_pb2.RepairChainRequest, _: object
    ) -> registry_pb2.RepairChainResponse:
        self.repairs.append(request)
        if not request.alias:
            return registry_pb2.RepairChainResponse(policy=self._policy(request.reason))
        event = registry_pb2.AliasEvent(model="r8", alias=request.alias, sequence=3, stable_version=2)
        event.accepted_loss.MergeFrom(registry_pb2.LostEvent(sequence=3, sha256="0" * 64))
        return registry_pb2.RepairChainResponse(event=event)

    async def WithdrawVersion(
        self, request: registry_pb2.WithdrawVersionRequest, _: object
    ) -> registry_pb2.WithdrawVersionResponse:
        self.is_withdrawn = True
        return registry_pb2.WithdrawVersionResponse(tombstone=_tombstone(request.reason))

    async def CollectGarbage(
        self, request: registry_pb2.CollectGarbageRequest, _: object
    ) -> registry_pb2.CollectGarbageResponse:
        assert request.dry_run
        garbage = registry_pb2.Garbage(
            key="tenants/local/blobs/sha256/0",
            is_deleted=True,
            size_bytes=7,
            reason=registry_pb2.GARBAGE_REASON_UNREFERENCED_BLOB,
        )
        garbage.condemn_time.FromDatetime(TIME)
        return registry_pb2.CollectGarbageResponse(garbage=[garbage], num_deleted=1, num_kept=4, deleted_bytes=7)

    async def GetLineage(self, _request: registry_pb2.GetLineageRequest, _: object) -> registry_pb2.GetLineageResponse:
        entry = registry_pb2.LineageEntry(version=2, root_sha256=VERSION.root_sha256, job_id="j-1")
        return registry_pb2.GetLineageResponse(entries=[entry])

    def _policy(self, reason: str) -> registry_pb2.GatePolicy:
        rules = self.rules or [registry_pb2.GateRule(alias="prod", quality=registry_pb2.QUALITY_RULE_BETTER)]
        policy = registry_pb2.GatePolicy(model="r8", sequence=1, rules=rules, reason=reason, set_by="operator:operator")
        policy.set_time.FromDatetime(TIME)
        return policy


def _tombstone(reason: str) -> registry_pb2.Tombstone:
    record = TombstoneRecord(
        tenant="local",
        model="r8",
        version=2,
        root_sha256=VERSION.root_sha256,
        reason=reason,
        withdrawn_by="operator:operator",
        withdraw_time=TIME,
        nonce="n",
    )
    tombstone = registry_pb2.Tombstone(
        reason=reason,
        withdrawn_by=record.withdrawn_by,
        record=signed_pb2.SignedRecord(envelope=sign_tombstone(record, KEY)),
    )
    tombstone.withdraw_time.FromDatetime(TIME)
    return tombstone
