# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The worker's audit records: log lines that say which signed object was refused, or is gone, and why.

Owns their form: the logger ``dragoman_worker.audit``, and the attributes object and reason. What is refused is decided
elsewhere.
"""

import logging

MAX_CHARS = 1024
"""Of each attribute: names in what was refused are chosen by nobody that we know."""

_logger = logging.getLogger("dragoman_worker.audit")


def refused(name: str, reason: str) -> None:
    """An object was not believed, or is withdrawn; what served goes on serving."""
    _logger.error("audit: object refused", extra={"object": name[:MAX_CHARS], "reason": reason[:MAX_CHARS]})


def lost(name: str, reason: str) -> None:
    """An object that this worker has verified is not shown any more; the worker keeps to what it has seen."""
    _logger.error("audit: object lost", extra={"object": name[:MAX_CHARS], "reason": reason[:MAX_CHARS]})
