# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs that were in a model process when it died: who is suspected, and who is quarantined.

Owns the strikes by input digest. A row that was in a crash is suspected, and runs alone until it has been scored once,
which clears it; so at the next crash it is known whether it was the cause. An input is quarantined when it was, with no
success between, in two ends of the process of which one was its own doing (a fault, an exit), or in three by something
from outside, a signal or the loss of its device: the kernel's memory killer may be the answer to a certain input, and
somebody's kill -9 must not make innocents guilty, nor must a GPU that fails.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

import numpy as np

from dragoman_common.errors import InvalidArgumentError
from dragoman_worker.request import TokenIds

MAX_REMEMBERED = 4096
OWN_DOING_STRIKES = 2
FOREIGN_STRIKES = 1
QUARANTINE_STRIKES = 3


class QuarantinedInputError(InvalidArgumentError):
    """The model's process ended again and again while it ran this input; this worker does not run it again."""


def input_digest(ids: TokenIds) -> str:
    """SHA-256 in hex over a row's token ids: the name of an input that log lines may carry."""
    return hashlib.sha256(np.ascontiguousarray(ids, dtype="<i4").tobytes()).hexdigest()


class Suspects:
    """Strikes of one loaded version. Bounded: the oldest entry is forgotten first."""

    def __init__(self) -> None:
        self._strikes: OrderedDict[str, int] = OrderedDict()

    def check(self, rows: Iterable[TokenIds]) -> None:
        """Refuse a call that holds a quarantined input.

        Raises:
            QuarantinedInputError: names the row.
        """
        if not self._strikes:
            return
        for index, ids in enumerate(rows):
            if self._strikes.get(input_digest(ids), 0) >= QUARANTINE_STRIKES:
                raise QuarantinedInputError(
                    f"row {index}: this input is quarantined: each time that it ran, the model's process ended (at "
                    f"least twice, one of them by a fault of its own, or three times by signals from outside or "
                    f"failures of its device; input sha256 {input_digest(ids)[:16]}); send another text"
                )

    def is_suspect(self, ids: TokenIds) -> bool:
        """Tell whether the row must run alone."""
        return bool(self._strikes) and input_digest(ids) in self._strikes

    def blame(self, rows: Iterable[TokenIds], *, is_own_doing: bool) -> list[str]:
        """Give every row of a batch its strikes; returns the digests that are quarantined by it."""
        strikes = OWN_DOING_STRIKES if is_own_doing else FOREIGN_STRIKES
        quarantined = []
        # A set: the same text twice in one batch was in one crash.
        for digest in {input_digest(ids) for ids in rows}:
            self._strikes[digest] = self._strikes.get(digest, 0) + strikes
            self._strikes.move_to_end(digest)
            if self._strikes[digest] >= QUARANTINE_STRIKES:
                quarantined.append(digest)
        while len(self._strikes) > MAX_REMEMBERED:
            self._strikes.popitem(last=False)
        return quarantined

    def clear(self, rows: Iterable[TokenIds]) -> None:
        """The rows were scored: nothing is held against them."""
        if self._strikes:
            for ids in rows:
                self._strikes.pop(input_digest(ids), None)
