# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The RPCs about evidence: requests in, EvidenceBook's answers out."""

from typing import TYPE_CHECKING, Any

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.errors import InvalidArgumentError
from dragoman_common.names import check_name
from dragoman_models.evidence_document import KINDS
from dragoman_registry.acting import caller_and_tenant, who
from dragoman_registry.convert import time_to_pb
from dragoman_registry.evidence import Statement, StoredEvidence
from dragoman_registry.evidence_book import EvidenceBook
from dragoman_registry.paging import fill_page, number_after, page_size

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Context = Any


class EvidenceServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Answers AddEvidence and ListEvidence."""

    _evidence: EvidenceBook

    async def AddEvidence(self, request: pb.AddEvidenceRequest, _context: Context) -> pb.AddEvidenceResponse:  # noqa: N802
        caller, tenant = caller_and_tenant()
        check_place(request.model, request.version)
        evidence, is_new = await self._evidence.add(
            Statement(
                tenant=tenant,
                model=request.model,
                version=request.version,
                kind=request.kind,
                document=request.document,
                root_sha256=request.root_sha256,
                identity=caller.identity,
                added_by=who(caller),
                job_id=caller.job_id,
            )
        )
        return pb.AddEvidenceResponse(evidence=evidence_to_pb(evidence), created=is_new)

    async def ListEvidence(self, request: pb.ListEvidenceRequest, _context: Context) -> pb.ListEvidenceResponse:  # noqa: N802
        _, tenant = caller_and_tenant()
        check_place(request.model, request.version)
        if request.kind not in ("", *KINDS):
            raise InvalidArgumentError(f"kind {request.kind[:64]!r} is none of {', '.join(KINDS)}")
        size = page_size(request.page_size)
        after = number_after(request.page_token) or 0
        found = await self._evidence.of_version(tenant, request.model, request.version)
        wanted = [item for item in found if request.kind in ("", item.record.kind)]
        page, has_more = fill_page(wanted[after:], size, evidence_to_pb)
        return pb.ListEvidenceResponse(evidence=page, next_page_token=str(after + len(page)) if has_more else "")


def check_place(model: str, version: int) -> None:
    """Refuse what cannot name a version.

    Raises:
        InvalidArgumentError: the name, or a number below 1.
    """
    check_name(model, field="model")
    if version < 1:
        raise InvalidArgumentError("version must be at least 1")


def evidence_to_pb(evidence: StoredEvidence) -> pb.Evidence:
    record = evidence.record
    return pb.Evidence(
        tenant=record.tenant,
        model=record.model,
        version=record.version,
        root_sha256=record.root_sha256,
        kind=record.kind,
        document=record.document,
        added_by=record.added_by,
        add_time=time_to_pb(record.add_time),
        digest=evidence.digest,
        record=signed_pb2.SignedRecord(envelope=evidence.envelope),
    )
