# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a failed command says and how it exits: one line on stderr, and a code that a script can tell apart.

The codes are documented in docs/cli.md; a test holds the two together.
"""

import sys
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup

from dragoman_common import errors
from dragoman_common.status import code_of

EXIT_CODES: Mapping[str, int] = {
    "OK": 0,
    "INTERNAL": 1,
    "INVALID_ARGUMENT": 2,
    "NOT_FOUND": 3,
    "UNAUTHENTICATED": 4,
    "PERMISSION_DENIED": 5,
    "FAILED_PRECONDITION": 6,
    "ALREADY_EXISTS": 7,
    "ABORTED": 8,
    "RESOURCE_EXHAUSTED": 9,
    "DEADLINE_EXCEEDED": 10,
    "UNAVAILABLE": 11,
    "DATA_LOSS": 12,
    "UNIMPLEMENTED": 13,
    "JOB_FAILED": 20,
    "JOB_CANCELLED": 21,
    "INTERRUPTED": 130,
}


class ErrorsAsExitCodes(TyperGroup):
    """A command group that ends with a documented code, for errors whose text is for the caller."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except errors.DragomanError as error:
            raise failure(code_name(error), error.message) from error
        except KeyboardInterrupt:
            raise failure("INTERRUPTED", "interrupted") from None


def code_name(error: errors.DragomanError) -> str:
    """The gRPC name of an error's code; INTERNAL where it has none."""
    try:
        return code_of(error).name
    except StopIteration:
        return "INTERNAL"


def failure(code: str, message: str) -> typer.Exit:
    """Say `error: <code>: <message>` on stderr. Raise what is returned."""
    sys.stderr.write(f"error: {code}: {message}\n")
    return typer.Exit(EXIT_CODES[code])
