# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Files that the user named, looked at before anything is done with them."""

from pathlib import Path

from dragoman_common.errors import InvalidArgumentError, NotFoundError


def check_exists(path: Path) -> Path:
    """Return the path if there is something.

    Raises:
        NotFoundError: there is nothing.
    """
    if not path.exists():
        raise NotFoundError(f"file {path} does not exist")
    return path


def check_file(path: Path) -> Path:
    """Return the path if it is a file.

    Raises:
        NotFoundError: there is nothing.
        InvalidArgumentError: it is a folder.
    """
    if not check_exists(path).is_file():
        raise InvalidArgumentError(f"{path} is a folder, must be a file")
    return path
