# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Audit records: log lines that say which signed object was not believed, or is gone, and why.

Owns their form, the same in every service: the logger ``dragoman_<service>.audit``, two messages, and the attributes
object and reason. What is refused is decided elsewhere.
"""

import logging

MAX_CHARS = 1024
"""Of each attribute: names in what was refused are chosen by nobody that we know."""


class Audit:
    """The audit records of one service."""

    def __init__(self, service: str) -> None:
        """Name the service, as in its package: ``worker``."""
        self._logger = logging.getLogger(f"dragoman_{service}.audit")

    def refused(self, name: str, reason: str) -> None:
        """Say that an object was not believed, or is withdrawn; what served goes on serving."""
        self._write("audit: object refused", name, reason)

    def lost(self, name: str, reason: str) -> None:
        """Say that an object that was verified is not there any more; the service keeps to what it has seen."""
        self._write("audit: object lost", name, reason)

    def _write(self, message: str, name: str, reason: str) -> None:
        self._logger.error(message, extra={"object": name[:MAX_CHARS], "reason": reason[:MAX_CHARS]})
