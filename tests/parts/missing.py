# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What happens when a real part cannot be had: the run ends with one line, or the test is skipped where it may be.

ALLOW_MISSING names the parts that a run may do without, comma-separated. Where CI is set it counts for nothing: a suite
that skipped its real parts has tested nothing that a fake would not have shown.
"""

import os
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

T = TypeVar("T")


class MissingPartError(Exception):
    """A part could not be had; the text says what was tried."""


def missing(part: str, error: MissingPartError) -> NoReturn:
    """Skip the test if the part may be missing, else end the run."""
    reason = f"{part}: {error}"
    allowed = [name.strip() for name in os.environ.get("ALLOW_MISSING", "").split(",")]
    if part in allowed and not os.environ.get("CI"):
        pytest.skip(reason)
    pytest.exit(f"{reason} (ALLOW_MISSING={part} skips its tests)", returncode=1)


def required(part: str, find: Callable[[], T]) -> T:
    """Return what find returns; without the part the run ends, or the test is skipped where it may be missing."""
    try:
        return find()
    except MissingPartError as error:
        missing(part, error)
