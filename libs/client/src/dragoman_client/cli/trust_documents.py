# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The JSON documents of the commands about trust, from the registry's messages. Pure; see documents."""

import json
from collections.abc import Iterable, Mapping

from dragoman.registry.v1 import registry_pb2
from dragoman_client.cli.documents import Document, time_text
from dragoman_client.version_check import Check
from dragoman_models.evidence_document import RETRACTION, parse_retraction

# The names that policy files and documents use.
QUALITY = {
    registry_pb2.QUALITY_RULE_NONE: "none",
    registry_pb2.QUALITY_RULE_EVALUATED: "evaluated",
    registry_pb2.QUALITY_RULE_NOT_WORSE: "not_worse",
    registry_pb2.QUALITY_RULE_BETTER: "better",
}


def retracted_by(evidence: Iterable[registry_pb2.Evidence]) -> dict[str, str]:
    """Who retracted what, by the digest of what was retracted; the first to do so."""
    found: dict[str, str] = {}
    for item in evidence:
        if item.kind == RETRACTION:
            found.setdefault(parse_retraction(item.document).digest, item.added_by)
    return found


def evidence_document(evidence: registry_pb2.Evidence, retracted: Mapping[str, str] | None = None) -> Document:
    return {
        "model": evidence.model,
        "version": evidence.version,
        "root_sha256": evidence.root_sha256,
        "kind": evidence.kind,
        "document": json.loads(evidence.document),
        "added_by": evidence.added_by,
        "add_time": time_text(evidence, "add_time"),
        "digest": evidence.digest,
        **({"retracted_by": retracted.get(evidence.digest)} if retracted is not None else {}),
    }


def basis_document(basis: registry_pb2.GateBasis, evidence: Mapping[str, Document]) -> Document:
    """Why a move was allowed; what is known of the evidence that it names, by digest."""
    return {
        "policy_sequence": basis.policy_sequence or None,
        "policy_sha256": basis.policy_sha256 or None,
        "rule": rule_document(basis.rule),
        "evidence": [
            {
                "version": item.version,
                "digest": item.digest,
                "kind": evidence[item.digest]["kind"] if item.digest in evidence else None,
                "added_by": evidence[item.digest]["added_by"] if item.digest in evidence else None,
                "retracted_by": evidence[item.digest]["retracted_by"] if item.digest in evidence else None,
            }
            for item in basis.evidence
        ],
        "returned_sequence": basis.returned_sequence or None,
    }


def rule_document(rule: registry_pb2.GateRule) -> Document:
    return {
        "alias": rule.alias,
        "quality": QUALITY.get(rule.quality),
        "min_robustness_basis_points": rule.min_robustness_basis_points,
        "max_size_bytes": rule.max_size_bytes,
        "max_p99_us": rule.max_p99_us,
        "may_be_incompatible": rule.may_be_incompatible,
        "num_approvals": rule.num_approvals,
    }


def policy_document(policy: registry_pb2.GatePolicy) -> Document:
    return {
        "model": policy.model,
        "sequence": policy.sequence,
        "rules": [rule_document(rule) for rule in policy.rules],
        "reason": policy.reason,
        "set_by": policy.set_by,
        "set_time": time_text(policy, "set_time"),
        "previous_sha256": policy.previous_sha256 or None,
    }


def tombstone_document(model: str, version: int, tombstone: registry_pb2.Tombstone) -> Document:
    return {
        "model": model,
        "version": version,
        "reason": tombstone.reason,
        "withdrawn_by": tombstone.withdrawn_by,
        "withdraw_time": time_text(tombstone, "withdraw_time"),
    }


def check_document(check: Check) -> Document:
    return {"name": check.name, "state": check.state, "detail": check.detail}


def garbage_document(reply: registry_pb2.CollectGarbageResponse, *, dry_run: bool) -> Document:
    return {
        "dry_run": dry_run,
        "num_condemned": reply.num_condemned,
        "num_deleted": reply.num_deleted,
        "num_kept": reply.num_kept,
        "num_left": reply.num_left,
        "condemned_bytes": reply.condemned_bytes,
        "deleted_bytes": reply.deleted_bytes,
        "num_abandoned_uploads": reply.num_abandoned_uploads,
        "garbage": [
            {
                "key": item.key,
                "reason": _garbage_reason(item),
                "size_bytes": item.size_bytes,
                "is_deleted": item.is_deleted,
                "condemn_time": time_text(item, "condemn_time"),
            }
            for item in reply.garbage
        ],
    }


def _garbage_reason(item: registry_pb2.Garbage) -> str:
    """The reason in words; a number that this build does not know yet stays a number."""
    if item.reason not in registry_pb2.GarbageReason.values():
        return str(item.reason)
    return registry_pb2.GarbageReason.Name(item.reason).removeprefix("GARBAGE_REASON_").lower().replace("_", "-")


def lineage_document(entry: registry_pb2.LineageEntry) -> Document:
    return {
        "version": entry.version,
        "root_sha256": entry.root_sha256,
        "parent_version": entry.parent_version or None,
        "job_id": entry.job_id or None,
        "data_sha256": entry.data_sha256 or None,
        "code_revision": entry.code_revision or None,
        "distance": entry.distance,
        "is_withdrawn": entry.is_withdrawn,
    }
