# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which models this worker is for: those of its pool.

Owns the patterns. A model that is not followed is not refused: it is as if the registry did not have it.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

ALL = "*"


@dataclass(frozen=True, slots=True)
class FollowedModels:
    """Patterns of ``tenant/model``, as shells write them; case counts."""

    patterns: tuple[str, ...] = (ALL,)

    def __post_init__(self) -> None:
        """Refuse what can match nothing.

        Raises:
            ValueError: no pattern, or one that no ``tenant/model`` can match.
        """
        if not self.patterns:
            raise ValueError("MODELS: must name at least one pattern; * is all models")
        for pattern in self.patterns:
            if pattern != ALL and pattern.count("/") != 1:
                raise ValueError(
                    f"MODELS: {pattern!r} must be tenant/model, such as acme/* or */review-*, or * for all"
                )

    def has(self, tenant: str, model: str) -> bool:
        """Whether the model is one of them. Each half is matched by itself: no * reaches over the slash."""
        return any(self._matches(pattern, tenant, model) for pattern in self.patterns)

    @staticmethod
    def _matches(pattern: str, tenant: str, model: str) -> bool:
        if pattern == ALL:
            return True
        of_tenant, _, of_model = pattern.partition("/")
        return fnmatchcase(tenant, of_tenant) and fnmatchcase(model, of_model)
