# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The fake of a namespace's Secrets and ConfigMaps: a dict."""

from dragoman_client.cluster.ports import Files
from dragoman_common.errors import AlreadyExistsError


class MemoryObjects:
    """Forgets everything with the process."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], Files] = {}
        self.final: set[tuple[str, str]] = set()

    def read(self, kind: str, name: str) -> Files | None:
        """See the port."""
        return self.held.get((kind, name))

    def create(self, kind: str, name: str, files: Files, *, is_final: bool = True) -> None:
        """See the port."""
        if (kind, name) in self.held:
            raise AlreadyExistsError(f"{kind} {name} is there")
        self.held[kind, name] = dict(files)
        if is_final:
            self.final.add((kind, name))

    def replace(self, kind: str, name: str, files: Files) -> None:
        """See the port."""
        if (kind, name) in self.final:
            raise AlreadyExistsError(f"{kind} {name} is final")
        self.held[kind, name] = dict(files)
