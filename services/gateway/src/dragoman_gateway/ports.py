# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the gateway's domain needs from outside, as protocols. contracts.py holds the tests that adapters pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dragoman_common.errors import UnavailableError
from dragoman_gateway.aliases import AliasTarget
from dragoman_gateway.record import FeedbackRecord, PredictionRecord
from dragoman_gateway.version import ServedVersion, VersionKey

# Shapes: N rows of a call, T token ids of all rows one after another, C labels.
TokenIds = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedRows:
    """Rows as token ids, concatenated: row i holds `lengths[i]` of `token_ids`."""

    token_ids: TokenIds
    lengths: TokenIds
    truncated: tuple[bool, ...]
    num_unknown: tuple[int, ...]


class Budget(Protocol):
    """The time that is left for the call being handled."""

    def remaining_s(self) -> float | None:
        """Seconds left, not below 0; None where the call has no deadline."""
        ...

    def check(self, stage: str, /) -> None:
        """Raises DeadlineExceededError, naming the stage, when nothing is left."""
        ...


class VersionCatalogue(Protocol):
    """Verified facts about versions, from memory for those seen before; a withdrawal is noticed within 30 s of use."""

    async def get(self, tenant: str, model: str, number: int, *, root_sha256: str | None = None) -> ServedVersion:
        """One version.

        Args:
            tenant: whose version.
            model: its model's name.
            number: its number.
            root_sha256: when set, the digest that the version must have.

        Raises:
            ModelNotFoundError: no such model or version.
            VersionWithdrawnError: a tombstone that the registry signed took it out of use.
            DataLossError: the record's signature is not the registry's, or the digest differs.
            UnavailableError: the registry is away, and the version has not been seen before.
        """
        ...


class AliasHistory(Protocol):
    async def earlier(self, target: AliasTarget, limit: int) -> list[AliasTarget]:
        """The verified events before `target`, newest first, at most `limit`; each is the one that the next one names.

        Raises:
            DataLossError: what the registry keeps there is not that chain.
            UnavailableError: the registry is away.
        """
        ...


class Tokenizer(Protocol):
    async def encode(self, key: VersionKey, texts: Sequence[str]) -> EncodedRows:
        """Token ids by the version's own tokenizer.

        Raises:
            InvalidArgumentError: a row is empty or too long.
            UnavailableError: the tokenizer is away; the call may be sent again.
        """
        ...


class CallLostError(UnavailableError):
    """The worker is there and could not keep the call: its process may have ended over this very input."""


class Scorer(Protocol):
    async def score(self, address: str, key: VersionKey, rows: EncodedRows) -> Scores:
        """Scores from the worker at `address`: shape [N, C], each row sums to 1. Sending it twice is harmless.

        Raises:
            UnavailableError: the worker is away, or no longer holds the version.
            CallLostError: the worker is there, and did not keep the call.
        """
        ...


class Journal(Protocol):
    """Where predictions and feedback are recorded, under the durability that their tenant chose (durability.py).

    The records of one call to it are of one tenant.
    """

    async def record(self, records: Sequence[PredictionRecord | FeedbackRecord]) -> None:
        """Keep the records; they are durable on return, or not chosen to be kept.

        Raises:
            UnavailableError: they could not be kept, or too many wait already.
            OverloadedError: there is no room for them until the event log takes events again.
        """
        ...

    def note(self, records: Sequence[PredictionRecord | FeedbackRecord]) -> None:
        """Keep the records soon: for answers that promise nothing. Never raises or waits; a full journal drops them."""
        ...

    def check_room(self, tenant: str) -> None:
        """Tell before the work is done that there would be no room for its records.

        Raises:
            OverloadedError: as `record`.
        """
        ...
