# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""dragoman.registry.v1.RegistryService: requests in, domain calls, replies out; each group of RPCs in its own module.

The servicers own paging, who sees what, and the shape of streams; the rules are the domain's. The tenant of every call
is the caller's, and another tenant's objects are looked up nowhere: NOT_FOUND, like anything that does not exist.
"""

from dragoman_models.verify import VerifyingKeys
from dragoman_registry.alias_servicer import AliasServicer
from dragoman_registry.catalog import Catalog
from dragoman_registry.chain_repair import ChainRepairs
from dragoman_registry.chain_servicer import ChainServicer
from dragoman_registry.download import Downloads
from dragoman_registry.evidence_book import EvidenceBook
from dragoman_registry.evidence_servicer import EvidenceServicer
from dragoman_registry.garbage import Collector
from dragoman_registry.garbage_servicer import GarbageServicer
from dragoman_registry.lineage_servicer import LineageServicer
from dragoman_registry.policy_book import PolicyBook
from dragoman_registry.policy_servicer import PolicyServicer
from dragoman_registry.promotion import Promotion
from dragoman_registry.publish import Publisher
from dragoman_registry.publish_servicer import PublishServicer
from dragoman_registry.settings import RegistrySettings
from dragoman_registry.version_servicer import VersionServicer
from dragoman_registry.watch import AliasWatch
from dragoman_registry.withdrawal import Withdrawals


class RegistryServicer(
    PublishServicer,
    VersionServicer,
    AliasServicer,
    EvidenceServicer,
    PolicyServicer,
    LineageServicer,
    GarbageServicer,
    ChainServicer,
):
    """Answers the registry's RPCs."""

    def __init__(
        self,
        *,
        settings: RegistrySettings,
        catalog: Catalog,
        publisher: Publisher,
        promotion: Promotion,
        downloads: Downloads,
        evidence: EvidenceBook,
        policies: PolicyBook,
        withdrawals: Withdrawals,
        collector: Collector,
        watch: AliasWatch,
        repairs: ChainRepairs,
        keys: VerifyingKeys,
    ) -> None:
        """Wire the parts."""
        self._settings = settings
        self._catalog = catalog
        self._publisher = publisher
        self._promotion = promotion
        self._downloads = downloads
        self._evidence = evidence
        self._policies = policies
        self._withdrawals = withdrawals
        self._collector = collector
        self._watch = watch
        self._repairs = repairs
        self._keys = keys
