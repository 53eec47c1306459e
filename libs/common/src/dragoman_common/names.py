# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The one rule for names: of tenants, models, aliases, data sets, and ids that callers choose. Pure.

A name becomes part of keys, of paths and of metrics, so the rule is narrow on purpose: no path, no option, no shell, no
case, no character that two systems could read differently.
"""

import re

from dragoman_common.errors import InvalidArgumentError

RULE = "1 to 63 of a-z, 0-9, dot, dash and underscore, with a letter or digit at both ends, and no two dots in a row"
"""As error texts say it."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?", re.ASCII)
_SHOWN_CHARS = 80


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and ".." not in text


def check_name(name: str, *, field: str) -> str:
    """Return the name if it is one.

    Args:
        name: what a caller chose.
        field: the request's field, for the message.

    Raises:
        InvalidArgumentError: it breaks the rule, which the message tells.
    """
    if not is_name(name):
        raise InvalidArgumentError(f"{field} {name[:_SHOWN_CHARS]!r} must have {RULE}")
    return name
