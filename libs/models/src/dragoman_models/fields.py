# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Typed access to the objects of a package's JSON files.

Owns the step from parsed JSON (dragoman_text.strict_json: bounded, no repeated key, no NaN) to checked values. It does
not know any file's schema; the modules that do (package, tensors, evaluation) take their values out here, so that every
refusal names the file, the key and what was allowed.
"""

from collections.abc import Collection
from typing import TypeAlias

from dragoman_common.errors import InvalidArgumentError

JsonScalar: TypeAlias = str | int | float | bool
JsonValue: TypeAlias = "JsonScalar | list[JsonValue] | dict[str, JsonValue] | None"


class Fields:
    """One JSON object whose keys are exactly the expected ones; values come out typed.

    Attributes:
        what: Where the object sits, such as ``model.json: architecture``; every message starts with it.
    """

    def __init__(
        self, value: JsonValue, *, what: str, required: Collection[str], optional: Collection[str] = ()
    ) -> None:
        """Check the key set.

        Raises:
            InvalidArgumentError: not an object, a key missing, or a key that is not listed.
        """
        self.what = what
        if not isinstance(value, dict):
            raise InvalidArgumentError(f"{what}: must be an object")
        self._value = value
        unknown = sorted(set(value) - set(required) - set(optional))
        if unknown:
            allowed = ", ".join(sorted({*required, *optional}))
            raise InvalidArgumentError(f"{what}: unknown key {unknown[0][:64]!r}; allowed: {allowed}")
        missing = sorted(set(required) - set(value))
        if missing:
            raise InvalidArgumentError(f"{what}: the key {missing[0]!r} is missing")

    def __contains__(self, key: str) -> bool:
        """Tell whether an optional key was given."""
        return key in self._value

    def raw(self, key: str) -> JsonValue:
        """Return the value unchecked, for nested objects."""
        return self._value[key]

    def text(self, key: str, *, max_chars: int = 256, choices: Collection[str] = ()) -> str:
        """Return a string, optionally one of a closed set."""
        value = self._value[key]
        if not isinstance(value, str) or not 0 < len(value) <= max_chars:
            raise InvalidArgumentError(f"{self.what}: {key} must be a string of 1 to {max_chars} characters")
        if choices and value not in choices:
            allowed = ", ".join(sorted(choices))
            raise InvalidArgumentError(f"{self.what}: {key} is {value[:64]!r}; allowed: {allowed}")
        return value

    def integer(self, key: str, *, low: int, high: int) -> int:
        """Return an integer within [low, high]; booleans and floats are refused."""
        value = self._value[key]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidArgumentError(f"{self.what}: {key} must be an integer from {low} to {high}")
        return value

    def number(self, key: str, *, low: float, high: float) -> float:
        """Return a finite number within [low, high]."""
        value = self._value[key]
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidArgumentError(f"{self.what}: {key} must be a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str) -> bool:
        """Return a boolean; 0 and 1 are refused."""
        value = self._value[key]
        if not isinstance(value, bool):
            raise InvalidArgumentError(f"{self.what}: {key} must be true or false")
        return value

    def items(self, key: str, *, max_items: int) -> list[JsonValue]:
        """Return a list of at most max_items values, unchecked themselves."""
        value = self._value[key]
        if not isinstance(value, list) or len(value) > max_items:
            raise InvalidArgumentError(f"{self.what}: {key} must be a list of at most {max_items} items")
        return value
