# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which versions were taken out of use, by verified tombstones. Pure bookkeeping; the registry client fills it.

A tombstone is final: what is in here is never asked for again, and never answers, not even as a stand-in.
"""

from collections import OrderedDict

from dragoman_gateway.version import VersionKey, VersionWithdrawnError

_MAX_VERSIONS = 10_000
"""The oldest leave first; one that left is asked for again at its next use, and is back."""


class Withdrawals:
    """Why each version is out of use."""

    def __init__(self) -> None:
        self._reasons: OrderedDict[VersionKey, str] = OrderedDict()

    def add(self, key: VersionKey, reason: str) -> None:
        """Take note of a verified tombstone."""
        self._reasons[key] = reason
        if len(self._reasons) > _MAX_VERSIONS:
            self._reasons.popitem(last=False)

    def __contains__(self, key: object) -> bool:
        """Whether the version is known to be out of use."""
        return key in self._reasons

    def check(self, key: VersionKey) -> None:
        """Let a version pass that is in use, as far as is known.

        Raises:
            VersionWithdrawnError: it is not.
        """
        reason = self._reasons.get(key)
        if reason is not None:
            raise VersionWithdrawnError(
                f"{key.model} version {key.number} was withdrawn ({reason}); ask by alias, or for another version"
            )
