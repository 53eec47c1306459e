# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A message that could not be read, with the reason: kept, so that somebody can look, and never counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_KEPT_BYTES: Final = 64 * 1024
"""Of a value, and of each header: a letter must fit into a message itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Named by where the message stood in the log: that names it once and for all."""

    topic: str
    partition: int
    offset: int
    reason: str
    value: bytes
    headers: Mapping[str, bytes]
    tenant: str
    """From the envelope, if that could be read; else empty."""
    reject_time_us: int
    search_from: Mapping[int, int]
    """The dead letters' end offsets before this one could be sent: where to look for it after a crash."""

    @property
    def event_id(self) -> str:
        """The same at every attempt to send it."""
        return f"deadletter-{self.topic}-{self.partition}-{self.offset}"


def cut(value: bytes) -> bytes:
    """The part of a value that a letter keeps."""
    return value[:MAX_KEPT_BYTES]
