# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Why moves to a version were allowed, checked from outside: every policy and piece of evidence that an event names.

alias event -> gate basis -> GetGatePolicy -> the policy's chain up to it -> the rule
                          -> ListEvidence -> each named piece exists, verifies, and was there before the move
"""

from collections.abc import Sequence
from dataclasses import replace

from dragoman_client.registry_operator import RegistryOperator
from dragoman_common.errors import DataLossError
from dragoman_models.evidence import EvidenceRecord, verify_evidence
from dragoman_models.gate_basis import GateBasis
from dragoman_models.policy_record import PolicyRecord, policy_sha256, verify_policy
from dragoman_models.record import AliasRecord
from dragoman_models.verify import VerifyingKeys


class GateCheck:
    """Checks the bases of one model's moves; what was read once is kept."""

    def __init__(self, registry: RegistryOperator, keys: VerifyingKeys, *, tenant: str, model: str) -> None:
        self._registry = registry
        self._keys = keys
        self._tenant = tenant
        self._model = model
        self._policies: list[PolicyRecord] = []
        self._evidence: dict[int, dict[str, EvidenceRecord]] = {}

    async def run(self, records: Sequence[AliasRecord]) -> str:
        """Check what verified events of one alias say about their gate.

        Returns:
            What was looked at, as text.

        Raises:
            DataLossError: a policy or a piece of evidence is not there, does not verify, or is another one.
        """
        num_judged = 0
        bases = [(record, record.gate) for record in records if record.gate is not None]
        for record, basis in bases:
            await self._check_rule(record, basis)
            for item in basis.evidence:
                found = (await self._evidence_of(item.version)).get(item.digest)
                what = f"event {record.sequence} of {record.alias}: evidence {item.digest} of version {item.version}"
                if found is None:
                    raise DataLossError(f"{what} is not there")
                if found.add_time > record.move_time:
                    raise DataLossError(f"{what} was added after the move")
            num_judged += len(basis.evidence)
        old = len(records) - len(bases)
        return f"{len(bases)} moves, {num_judged} pieces of evidence" + (f"; {old} do not say" if old else "")

    async def _check_rule(self, record: AliasRecord, basis: GateBasis) -> None:
        if not basis.policy_sequence:
            return
        what = f"event {record.sequence} of {record.alias}: policy {basis.policy_sequence}"
        while len(self._policies) < basis.policy_sequence:
            sequence = len(self._policies) + 1
            policy = await self._registry.policy(self._model, sequence=sequence)
            self._policies.append(
                verify_policy(
                    policy.record.envelope,
                    self._keys,
                    tenant=self._tenant,
                    model=self._model,
                    previous=self._policies[-1] if self._policies else None,
                )
            )
        policy_record = self._policies[basis.policy_sequence - 1]
        if policy_sha256(policy_record) != basis.policy_sha256:
            raise DataLossError(f"{what} is another one than was in force")
        rule = policy_record.rule_for(record.alias)
        # Who changed the policy is held to the approvals of before; the rule may ask for more than the policy.
        if rule is not None and replace(rule, num_approvals=basis.rule.num_approvals) != basis.rule:
            raise DataLossError(f"{what} has another rule for the alias than the move was held to")
        if rule is not None and basis.rule.num_approvals < rule.num_approvals:
            raise DataLossError(f"{what} asks for more approvals than the move was held to")

    async def _evidence_of(self, version: int) -> dict[str, EvidenceRecord]:
        if version not in self._evidence:
            self._evidence[version] = {
                item.digest: verify_evidence(
                    item.record.envelope,
                    self._keys,
                    tenant=self._tenant,
                    model=self._model,
                    version=version,
                    digest=item.digest,
                )
                for item in await self._registry.evidence(self._model, version)
            }
        return self._evidence[version]
