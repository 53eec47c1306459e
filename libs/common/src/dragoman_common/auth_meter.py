# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Counts who was not let in, by reason. No label is chosen by the caller: anyone who reaches a port makes failures."""

from dragoman_common import telemetry
from dragoman_common.errors import AuthFailure, DragomanError, PermissionDeniedError, UnauthenticatedError

_failures = telemetry.meter("dragoman.server").create_counter(
    "dragoman.auth.failures", unit="1", description="Calls refused because of who called, by reason"
)


def count(error: DragomanError) -> None:
    """Count what authentication or the policy table has raised; any other error is not counted."""
    if isinstance(error, UnauthenticatedError):
        _failures.add(1, {"reason": error.failure.value})
    elif isinstance(error, PermissionDeniedError):
        _failures.add(1, {"reason": AuthFailure.NOT_ALLOWED.value})
