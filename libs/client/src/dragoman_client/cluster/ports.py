# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where an installation's secrets are kept: named objects that hold named files."""

from collections.abc import Mapping
from typing import Protocol

Files = Mapping[str, bytes]


class SecretObjects(Protocol):
    """Secrets and ConfigMaps of one namespace. Every method raises an `UnavailableError` when nobody answers."""

    def read(self, kind: str, name: str) -> Files | None:
        """The object's files; None where it is not there.

        Raises:
            PermissionDeniedError: the right to read it is missing.
        """
        ...

    def create(self, kind: str, name: str, files: Files, *, is_final: bool = True) -> None:
        """Make an object; a final one cannot be changed by anyone.

        Raises:
            PermissionDeniedError: the right to make it is missing.
            AlreadyExistsError: one of this name came first.
        """
        ...

    def replace(self, kind: str, name: str, files: Files) -> None:
        """Give an object that was not made final these files.

        Raises:
            PermissionDeniedError: the right to change it is missing.
        """
        ...
