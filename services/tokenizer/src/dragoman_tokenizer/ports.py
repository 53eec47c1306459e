# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the tokenizer service needs from outside: a place that holds model versions."""

from typing import Protocol

from dragoman_tokenizer.version import VerifiedVersion, VersionName


class VersionSource(Protocol):
    """Holds signed model versions. Implementations: registry_client.py, and memory.py for tests.

    Both methods may raise UnavailableError (ask again), DeadlineExceededError and OverloadedError.
    """

    async def manifest(self, name: VersionName) -> VerifiedVersion:
        """The version's record, its signature verified and its name checked against `name`.

        Raises:
            VersionNotFoundError: the tenant has no such version.
            WithdrawnVersionError: a verified tombstone of this content came with the record. One that does not verify
                says nothing.
            DataLossError: the record is not what a trusted key signed for this tenant, model and number.
        """

    async def read(self, name: VersionName, path: str, max_bytes: int) -> bytes:
        """The bytes of one file, unverified: the caller holds the digest.

        Args:
            name: the version.
            path: a path of its manifest.
            max_bytes: the signed size; reading stops one chunk past it, so a source that sends more cannot fill memory.

        Raises:
            VersionNotFoundError: no such version or file.
        """
