# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What one engine has done, as numbers that only grow. metrics.py exports each of them."""

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class EngineCounters:
    """What an engine has done since it was made.

    Attributes:
        num_batches: Sent to the process.
        num_rows: In those batches.
        num_tokens: In those rows, without padding.
        num_padded_tokens: What they came to with padding.
        num_refused: Calls refused because the queue was full.
        num_expired: Calls dropped before they began, for lack of time.
        num_process_ends: Times that the process died or was ended as hung.
        num_quarantined: Inputs.
    """

    num_batches: int = 0
    num_rows: int = 0
    num_tokens: int = 0
    num_padded_tokens: int = 0
    num_refused: int = 0
    num_expired: int = 0
    num_process_ends: int = 0
    num_quarantined: int = 0
