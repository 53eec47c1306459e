# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The ports in memory: fakes for tests, held by the same contracts as the real adapters."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from dragoman_common.errors import DataLossError, DragomanError, InvalidArgumentError, OverloadedError, UnavailableError
from dragoman_gateway.aliases import AliasTarget
from dragoman_gateway.ports import EncodedRows, Scores
from dragoman_gateway.record import FeedbackRecord, PredictionRecord
from dragoman_gateway.version import ModelNotFoundError, ServedVersion, VersionKey
from dragoman_gateway.withdrawals import Withdrawals


class MemoryCatalogue:
    """Versions that a test put there."""

    def __init__(self, versions: Sequence[ServedVersion] = (), withdrawals: Withdrawals | None = None) -> None:
        self._withdrawals = Withdrawals() if withdrawals is None else withdrawals
        self._withdrawn: set[VersionKey] = set()
        self._versions = {(v.key.tenant, v.key.model, v.key.number): v for v in versions}

    def add(self, version: ServedVersion) -> None:
        self._versions[version.key.tenant, version.key.model, version.key.number] = version

    def withdraw(self, key: VersionKey) -> None:
        """Add a tombstone, which is noticed when the version is next asked for."""
        self._withdrawn.add(key)

    async def get(self, tenant: str, model: str, number: int, *, root_sha256: str | None = None) -> ServedVersion:
        version = self._versions.get((tenant, model, number))
        if version is None:
            raise ModelNotFoundError(f"no model {model!r} with a version {number}")
        if root_sha256 not in (None, version.key.root_sha256):
            raise DataLossError(f"{model} version {number}: another root digest")
        if version.key in self._withdrawn:
            self._withdrawals.add(version.key, "a test said so")
        self._withdrawals.check(version.key)
        return version


class MemoryHistory:
    """Chains that a test put there, by the digest that an event names as its predecessor."""

    def __init__(self) -> None:
        self.events: dict[str, AliasTarget] = {}
        self.num_calls = 0

    async def earlier(self, target: AliasTarget, limit: int) -> list[AliasTarget]:
        self.num_calls += 1
        found: list[AliasTarget] = []
        while len(found) < limit and target.previous_sha256:
            if target.previous_sha256 not in self.events:
                raise UnavailableError("the registry is away")
            target = self.events[target.previous_sha256]
            found.append(target)
        return found


class MemoryTokenizer:
    """One id per word, the same for the same word. `failures` are raised by the next calls, one each."""

    def __init__(self) -> None:
        self.failures: list[DragomanError] = []
        self.num_calls = 0

    async def encode(self, key: VersionKey, texts: Sequence[str]) -> EncodedRows:  # noqa: ARG002 - one vocabulary
        self.num_calls += 1
        if self.failures:
            raise self.failures.pop(0)
        rows = [[_word_id(word) for word in text.split()] for text in texts]
        for row, ids in enumerate(rows):
            if not ids:
                raise InvalidArgumentError(f"texts[{row}] holds no token")
        return EncodedRows(
            token_ids=np.array([token for ids in rows for token in ids], dtype=np.int32),
            lengths=np.array([len(ids) for ids in rows], dtype=np.int32),
            truncated=tuple(False for _ in rows),
            num_unknown=tuple(0 for _ in rows),
        )


class MemoryScorer:
    """Workers that know `num_labels` labels: a row's ids decide its label. `failures` come first, by address."""

    def __init__(self, num_labels: int, failures: Mapping[str, list[Exception]] | None = None) -> None:
        self._num_labels = num_labels
        self.failures = dict(failures or {})
        self.calls: list[str] = []

    async def score(self, address: str, key: VersionKey, rows: EncodedRows) -> Scores:  # noqa: ARG002 - one model
        self.calls.append(address)
        if self.failures.get(address):
            raise self.failures[address].pop(0)
        return scores_of(rows, self._num_labels)


class MemoryJournal:
    """Records in lists. With `is_away` set it keeps nothing and says so."""

    def __init__(self) -> None:
        self.records: list[PredictionRecord | FeedbackRecord] = []
        self.is_away = False
        self.is_full = False

    def check_room(self, tenant: str) -> None:  # noqa: ARG002 - all tenants share the lists
        if self.is_full:
            raise OverloadedError("no room")

    async def record(self, records: Sequence[PredictionRecord | FeedbackRecord]) -> None:
        if self.is_away:
            raise UnavailableError("the event log is away")
        self.records.extend(records)

    def note(self, records: Sequence[PredictionRecord | FeedbackRecord]) -> None:
        if not self.is_away:
            self.records.extend(records)


def scores_of(rows: EncodedRows, num_labels: int) -> Scores:
    """What the fake model says: 0.9 for the label that the sum of the row's ids picks, the rest evenly."""
    best_N = [int(ids.sum()) % num_labels for ids in np.split(rows.token_ids, np.cumsum(rows.lengths)[:-1])]
    scores_NC = np.full((len(best_N), num_labels), 0.1 / (num_labels - 1), dtype=np.float32)
    scores_NC[np.arange(len(best_N)), best_N] = 0.9
    return scores_NC


def _word_id(word: str) -> int:
    return 2 + int.from_bytes(hashlib.sha256(word.encode()).digest()[:2], "big")
