# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Names that callers choose: what they may look like, before anything is done with them.

A name becomes part of an object's key, so the rule is narrow on purpose: no path, no option, no shell, no case, no
character that two systems could read differently.
"""

import re

from dragoman_common.errors import InvalidArgumentError

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?", re.ASCII)


def check_name(name: str, *, field: str) -> str:
    """Return the name if it may become part of a key.

    Args:
        name: A tenant, model, alias, publish id or request id.
        field: The request's field, for the message.

    Raises:
        InvalidArgumentError: empty, longer than 63 characters, or with other characters than the rule allows.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidArgumentError(
            f"{field} {name[:80]!r} must be 1 to 63 lower-case letters, digits, '.', '_' or '-', "
            "start and end with a letter or digit, and hold no '..'"
        )
    return name
