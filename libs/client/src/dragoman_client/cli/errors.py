# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a failed command says and how it exits: one line on stderr, and a code that a script can tell apart.

The codes are documented in docs/cli.md; a test holds the two together.

    argument that is no text, wrong usage, DragomanError, OSError of a path, Ctrl-C -> error: <code>: <message>, exit
"""

import errno
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError  # typer has no public name for either
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
_OS_CODES: Mapping[int, str] = {
    errno.ENOENT: "NOT_FOUND",
    errno.ENOTDIR: "INVALID_ARGUMENT",
    errno.EISDIR: "INVALID_ARGUMENT",
    errno.EEXIST: "INVALID_ARGUMENT",
    errno.ENAMETOOLONG: "INVALID_ARGUMENT",
    errno.ELOOP: "INVALID_ARGUMENT",
    errno.EACCES: "FAILED_PRECONDITION",
    errno.EPERM: "FAILED_PRECONDITION",
    errno.EROFS: "FAILED_PRECONDITION",
    errno.ENOSPC: "RESOURCE_EXHAUSTED",
    errno.EDQUOT: "RESOURCE_EXHAUSTED",
}


class ErrorsAsExitCodes(TyperGroup):
    """A command group that ends with a documented code, for errors whose text is for the caller."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 - how to end is this method's whole purpose
        windows_expand_args: bool = True,  # noqa: ARG002 - Linux only
        **extra: Any,
    ) -> Any:
        """Run the command and exit, with `error:` for wrong usage too."""
        given = list(sys.argv[1:] if args is None else args)
        try:
            _check_arguments(given)
            code = super().main(given, prog_name, complete_var, standalone_mode=False, **extra)
        except NoArgsIsHelpError as error:
            # Not a mistake in the arguments: none were given.
            error.show()
            sys.exit(EXIT_CODES["INVALID_ARGUMENT"])
        except ClickException as error:
            sys.exit(failure("INVALID_ARGUMENT", _usage(error)).exit_code)
        except errors.InvalidArgumentError as error:
            sys.exit(failure("INVALID_ARGUMENT", error.message).exit_code)
        except typer.Abort:
            sys.exit(failure("INTERRUPTED", "interrupted").exit_code)
        sys.exit(code if isinstance(code, int) else EXIT_CODES["OK"])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except errors.DragomanError as error:
            raise failure(code_name(error), error.message) from error
        except OSError as error:
            # A closed pipe is for typer to handle; it ends quietly.
            if error.errno == errno.EPIPE:
                raise
            raise failure(_OS_CODES.get(error.errno or 0, "INTERNAL"), _os_text(error)) from error
        except KeyboardInterrupt:
            raise failure("INTERRUPTED", "interrupted") from None


def code_name(error: errors.DragomanError) -> str:
    """The gRPC name of an error's code; INTERNAL where it has none."""
    return code_of(error).name


def failure(code: str, message: str) -> typer.Exit:
    """Say `error: <code>: <message>` on stderr. Raise what is returned."""
    sys.stderr.write(f"error: {code}: {message}\n")
    return typer.Exit(EXIT_CODES[code])


def _check_arguments(arguments: Sequence[str]) -> None:
    # Bytes of the command line that are not UTF-8 reach Python as lone surrogates, which nothing can send or print.
    for number, argument in enumerate(arguments, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            shown = argument.encode(errors="replace").decode()
            raise errors.InvalidArgumentError(
                f"argument {number} ({shown[:80]!r}) is not UTF-8 at character {error.start + 1}: convert it first"
            ) from None


def _usage(error: ClickException) -> str:
    context = getattr(error, "ctx", None)
    where = f"; see `{context.command_path} --help`" if context is not None else ""
    text = " ".join(error.format_message().split())
    return f"{text.rstrip('.')}{where}"


def _os_text(error: OSError) -> str:
    what = error.strerror or str(error)
    if error.filename is None:
        return what
    return f"{error.filename}: {what}; check the path, and who may read and write it"
