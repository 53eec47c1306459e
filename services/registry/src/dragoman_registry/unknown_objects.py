# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What lies beside a model's records and has no place in the layout: named once in the audit log, and never read.

Nothing that the registry does depends on such an object. That somebody can write there is what an operator wants to
know.
"""

import logging
import re
from collections.abc import Collection

from dragoman_registry import layout

audit = logging.getLogger("dragoman_registry.audit")

MAX_NAMED = 1000
_MAX_KEY_CHARS = 1024

_NAME = "[a-z0-9][a-z0-9._-]*"
_NUMBER = "[1-9][0-9]*"
_SHA256 = "[0-9a-f]{64}"
_KNOWN = re.compile(
    f"intents/{_NAME}|by-digest/{_SHA256}(\\.{_NUMBER})?|versions/{_NUMBER}|aliases/{_NAME}/{_NUMBER}"
    f"|evidence/{_NUMBER}/{_SHA256}|policies/{_NUMBER}|tombstones/{_NUMBER}|heads/(aliases/{_NAME}|policies)",
    re.ASCII,
)


class UnknownObjects:
    """Remembers what was named, as long as it is there."""

    def __init__(self) -> None:
        self._named: dict[tuple[str, str], set[str]] = {}

    def look(self, tenant: str, model: str, keys: Collection[str]) -> None:
        """Name what is new among a model's keys and has no place in the layout.

        Args:
            tenant: Whose model.
            model: The model.
            keys: All that the store lists below the model. At most MAX_NAMED of them are named one by one.
        """
        prefix = f"{layout.model(tenant, model)}/"
        unknown = {key for key in keys if not _KNOWN.fullmatch(key.removeprefix(prefix))}
        before = self._named.get((tenant, model), set())
        kept = before & unknown
        new = sorted(unknown - before)
        named = new[: MAX_NAMED - len(kept)]
        for key in named:
            audit.error("audit: unknown object", extra={"object": _text(key)})
        if len(named) < len(new) and len(before) < MAX_NAMED:
            more = {"object": prefix.rstrip("/"), "count": len(new) - len(named)}
            audit.error("audit: more unknown objects", extra=more)
        self._named[tenant, model] = kept | set(named)
        if not unknown:
            del self._named[tenant, model]


def _text(key: str) -> str:
    # A folder's names are bytes; not all of them are text.
    return key[:_MAX_KEY_CHARS].encode(errors="backslashreplace").decode()
