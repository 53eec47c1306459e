# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What every adapter of a port must do. Tests subclass these with a fixture that builds theirs."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from dragoman_common.errors import DataLossError, InvalidArgumentError, UnavailableError
from dragoman_gateway.ports import EncodedRows, Journal, Scorer, Tokenizer, VersionCatalogue
from dragoman_gateway.record import PredictionRecord
from dragoman_gateway.version import ModelNotFoundError, ServedVersion, VersionKey, VersionWithdrawnError

Read = Callable[[], list[tuple[str, str, int]]]


class CatalogueContract:
    """Fixtures: `catalogue`; `known`: a version that it holds; `withdraw`: takes that version out of use."""

    async def test_a_known_version_is_answered_whole(self, catalogue: VersionCatalogue, known: ServedVersion) -> None:
        key = known.key
        assert await catalogue.get(key.tenant, key.model, key.number) == known
        assert await catalogue.get(key.tenant, key.model, key.number, root_sha256=key.root_sha256) == known

    async def test_another_number_is_not_found(self, catalogue: VersionCatalogue, known: ServedVersion) -> None:
        with pytest.raises(ModelNotFoundError):
            await catalogue.get(known.key.tenant, known.key.model, known.key.number + 1)

    async def test_another_tenant_finds_nothing(self, catalogue: VersionCatalogue, known: ServedVersion) -> None:
        with pytest.raises(ModelNotFoundError):
            await catalogue.get("stranger", known.key.model, known.key.number)

    async def test_another_digest_is_data_loss(self, catalogue: VersionCatalogue, known: ServedVersion) -> None:
        with pytest.raises(DataLossError):
            await catalogue.get(known.key.tenant, known.key.model, known.key.number, root_sha256="0" * 64)

    async def test_a_withdrawn_version_is_refused_every_time(
        self, catalogue: VersionCatalogue, known: ServedVersion, withdraw: Callable[[], None]
    ) -> None:
        withdraw()
        for _ in range(2):
            with pytest.raises(VersionWithdrawnError, match="withdrawn"):
                await catalogue.get(known.key.tenant, known.key.model, known.key.number)


class TokenizerContract:
    """Fixtures: `tokenizer`, and `key`: a version that it knows."""

    async def test_rows_come_back_in_order_and_whole(self, tokenizer: Tokenizer, key: VersionKey) -> None:
        alone = [await tokenizer.encode(key, [text]) for text in ("grain exports", "oil")]
        together = await tokenizer.encode(key, ["grain exports", "oil"])
        assert together.lengths.tolist() == [2, 1]
        assert together.token_ids.tolist() == [*alone[0].token_ids.tolist(), *alone[1].token_ids.tolist()]
        assert together.token_ids.dtype == np.int32
        assert len(together.truncated) == len(together.num_unknown) == 2

    async def test_a_row_without_words_is_refused(self, tokenizer: Tokenizer, key: VersionKey) -> None:
        with pytest.raises(InvalidArgumentError, match=r"\[1\]"):
            await tokenizer.encode(key, ["oil", " "])


class ScorerContract:
    """Fixtures: `scorer`, `address`, `gone` (an address that refuses), and `key`: a version with at least 2 labels."""

    async def test_scores_are_probabilities_per_row(self, scorer: Scorer, address: str, key: VersionKey) -> None:
        scores_NC = await scorer.score(address, key, _rows([5, 6], [7]))
        assert scores_NC.shape[0] == 2
        np.testing.assert_allclose(scores_NC.sum(axis=1), 1.0, atol=1e-5)

    async def test_a_row_has_the_same_scores_alone(self, scorer: Scorer, address: str, key: VersionKey) -> None:
        together = await scorer.score(address, key, _rows([5, 6], [7]))
        alone = await scorer.score(address, key, _rows([7]))
        np.testing.assert_allclose(together[1], alone[0], atol=1e-5)

    async def test_a_worker_that_is_gone_is_unavailable(self, scorer: Scorer, gone: str, key: VersionKey) -> None:
        with pytest.raises(UnavailableError):
            await scorer.score(gone, key, _rows([5]))


class JournalContract:
    """Fixtures: `journal`; `read`: returns (topic, request id, row) of all that is durable; `records`: of one call."""

    async def test_records_are_durable_on_return(
        self, journal: Journal, read: Read, records: Sequence[PredictionRecord]
    ) -> None:
        await journal.record(records)
        assert read() == [("dragoman.predictions", records[0].request_id, row) for row in range(len(records))]

    async def test_nothing_is_durable_before(self, read: Read) -> None:
        assert read() == []


def _rows(*rows: list[int]) -> EncodedRows:
    return EncodedRows(
        token_ids=np.array([token for row in rows for token in row], dtype=np.int32),
        lengths=np.array([len(row) for row in rows], dtype=np.int32),
        truncated=tuple(False for _ in rows),
        num_unknown=tuple(0 for _ in rows),
    )
