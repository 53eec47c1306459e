# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""JSON of outside origin, read without believing it.

Owns: the size bound before parsing, UTF-8, no repeated key, no NaN, an exact set of keys. Not the meaning of a field.
Data path: bytes -> size check -> text -> object (dict, exact keys) -> fields of the type that was asked for.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from dragoman_common.errors import InvalidArgumentError


def parse_object(data: bytes, *, what: str, max_bytes: int) -> dict[str, Any]:
    """Parse one JSON object.

    Args:
        data: the file's bytes.
        what: the file's name in error texts.
        max_bytes: more are refused before a byte is parsed.

    Raises:
        InvalidArgumentError: too large, not UTF-8, not JSON, a repeated key, NaN or Infinity, not an object.
    """
    if len(data) > max_bytes:
        raise InvalidArgumentError(f"{what} has {len(data):,} bytes; the limit is {max_bytes:,} bytes")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{what} is not strict JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"{what} must hold a JSON object")
    return value


def require_keys(value: Mapping[str, object], keys: Iterable[str], *, what: str) -> None:
    """Refuse a missing or an unknown key.

    Raises:
        InvalidArgumentError: naming the keys.
    """
    expected = set(keys)
    if unknown := sorted(value.keys() - expected):
        raise InvalidArgumentError(f"{what} has unknown keys: {_listed(unknown)}")
    if missing := sorted(expected - value.keys()):
        raise InvalidArgumentError(f"{what} lacks keys: {_listed(missing)}")


def dump(value: Mapping[str, object]) -> bytes:
    """Serialise with sorted keys and no spaces: equal values give equal bytes, hence equal digests."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object repeats a key")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
