# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next attempt: at once, then longer each time, with a bound and some jitter."""

import random


class Backoff:
    """Delays of one thing that is tried again."""

    def __init__(self, *, first_s: float, max_s: float, seed: int | None = None) -> None:
        """Set the bounds.

        Args:
            first_s: The second delay; the first is 0, for most failures are over when they are seen.
            max_s: No delay is longer.
            seed: For tests.
        """
        self._first_s = first_s
        self._max_s = max_s
        # Not for secrets: it keeps many workers from asking the registry in step.
        self._random = random.Random(seed)  # noqa: S311
        self.num_attempts = 0

    def next_s(self) -> float:
        """Count an attempt and return the delay before it."""
        self.num_attempts += 1
        if self.num_attempts == 1:
            return 0.0
        full_s = min(self._max_s, self._first_s * 2.0 ** min(self.num_attempts - 2, 32))
        return full_s * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked: the next failure starts from the beginning."""
        self.num_attempts = 0
