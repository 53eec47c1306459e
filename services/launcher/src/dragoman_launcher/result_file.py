# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How a job says how it ended: one small JSON file, written atomically by the trainer as its last act.

    {"format": "dragoman.result/1", "outcome": "succeeded" | "failed" | "cancelled", "message": "...",
     "published_version": 3, "published_root_sha256": "<64 hex>"}          the last two may be absent or null

A file that does not parse counts as none: the job has then not said how it ended.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

from dragoman_common.errors import InvalidArgumentError
from dragoman_launcher.job import MAX_MESSAGE_CHARS, Publication
from dragoman_launcher.outcome import JobResult, Verdict

FORMAT: Final = "dragoman.result/1"
MAX_RESULT_BYTES: Final = 64 * 1024

_KEYS: Final = frozenset({"format", "outcome", "message", "published_version", "published_root_sha256"})


def read_result(path: Path) -> JobResult | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_RESULT_BYTES + 1)
    return None if len(data) > MAX_RESULT_BYTES else parse_result(data)


def parse_result(data: bytes) -> JobResult | None:
    """The result, or None when these bytes are not one."""
    try:
        values: Any = json.loads(data)
        if not isinstance(values, dict) or values.get("format") != FORMAT or not values.keys() <= _KEYS:
            return None
        message = values.get("message", "")
        if not isinstance(message, str):
            return None
        version, root = values.get("published_version"), values.get("published_root_sha256")
        publication = None
        if version is not None or root is not None:
            if not isinstance(version, int) or isinstance(version, bool) or not isinstance(root, str):
                return None
            publication = Publication(version=version, root_sha256=root)
        verdict = Verdict(values.get("outcome"))
    except (ValueError, RecursionError, InvalidArgumentError):
        return None
    return JobResult(verdict=verdict, message=message[:MAX_MESSAGE_CHARS], publication=publication)
