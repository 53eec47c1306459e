# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which identities may call which method."""

from dragoman_common.auth import PolicyTable

_SERVICE = "/dragoman.registry.v1.RegistryService"
_READERS = frozenset({"worker", "gateway", "tokenizer", "trainer", "launcher", "monitor", "operator"})
_READS = (
    "GetVersion",
    "ListVersions",
    "ListModels",
    "DownloadFile",
    "GetFileUrl",
    "GetAlias",
    "ListAliasEvents",
    "WatchAliases",
    "ListEvidence",
    "GetGatePolicy",
    "GetLineage",
    "GetKeyList",
)

POLICY: PolicyTable = {
    f"{_SERVICE}/PublishVersion": frozenset({"trainer", "operator"}),
    f"{_SERVICE}/SetAlias": frozenset({"operator"}),
    # Which kinds, and of which versions, is evidence.check_role's.
    f"{_SERVICE}/AddEvidence": frozenset({"trainer", "operator", "monitor"}),
    f"{_SERVICE}/SetGatePolicy": frozenset({"operator"}),
    f"{_SERVICE}/CollectGarbage": frozenset({"operator"}),
    f"{_SERVICE}/WithdrawVersion": frozenset({"operator"}),
    f"{_SERVICE}/RepairChain": frozenset({"operator"}),
    **{f"{_SERVICE}/{name}": _READERS for name in _READS},
}
