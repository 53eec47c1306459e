# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How a caller names a model: `r8` (its prod alias answers), `r8@canary`, or either with a number, which wins."""

import re
from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.names import RULE, is_name

DEFAULT_ALIAS = "prod"
_VERSION = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selector:
    """`version` is None when the alias decides."""

    model: str
    alias: str
    version: int | None


def parse_selector(name: str, version: int | None = None, *, field: str = "model") -> Selector:
    """Read a model name, with its optional `@alias`, beside an optional version number.

    Raises:
        InvalidArgumentError: the name has another form, or the number is not positive.
    """
    model, at, alias = name.partition("@")
    if not is_name(model) or (at and not is_name(alias)):
        raise InvalidArgumentError(f"{field} must be a name or name@alias, each of {RULE}")
    if version is not None and version < 1:
        raise InvalidArgumentError(f"version is {version}; version numbers count from 1, and none asks by alias")
    return Selector(model=model, alias=alias or DEFAULT_ALIAS, version=version)


def parse_version(text: str, *, field: str = "model_version") -> int | None:
    """Read a version number written in decimal, or None where it is left empty.

    Raises:
        InvalidArgumentError: the text is something else.
    """
    if not text:
        return None
    if not _VERSION.fullmatch(text):
        raise InvalidArgumentError(f"{field} must be a version number in decimal, or empty to ask by alias")
    return int(text)
