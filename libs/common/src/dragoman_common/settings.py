# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings from the environment: one frozen dataclass a service, read in `__main__`, all problems reported at once."""

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar


class _Dataclass(Protocol):
    __dataclass_fields__: typing.ClassVar[dict[str, Any]]


T = TypeVar("T", bound=_Dataclass)

_WORDS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class Secret:
    """A value that no log line, traceback or repr shows."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"


class SettingsError(Exception):
    """Every problem of the environment, one a line."""


def parse(cls: type[T], environ: Mapping[str, str], *, prefix: str) -> T:
    """Build `cls` from the variables that start with `prefix`.

    A field `max_wait_ms` is read from `<prefix>MAX_WAIT_MS`; a field that is itself a dataclass shares the prefix.
    Field types: str, int, float, bool, Path, Secret, tuple[str, ...] (comma-separated), each also as `X | None`.

    Raises:
        SettingsError: a required variable is missing, a value does not parse, or a name with the prefix is unknown.
    """
    problems: list[str] = []
    known: set[str] = set()
    settings = _build(cls, environ, prefix, known, problems)
    unknown = sorted(name for name in environ if name.startswith(prefix) and name not in known)
    problems += [f"{name}: no such setting; known are {', '.join(sorted(known))}" for name in unknown]
    if problems or settings is None:
        raise SettingsError("\n".join(problems))
    return settings


def load(cls: type[T], environ: Mapping[str, str], *, prefix: str) -> T:
    """As `parse`, for a process's start: prints the problems to stderr and exits with 2."""
    try:
        return parse(cls, environ, prefix=prefix)
    except SettingsError as error:
        sys.stderr.write(f"settings:\n{error}\n")
        raise SystemExit(2) from None


def _build(cls: type[T], environ: Mapping[str, str], prefix: str, known: set[str], problems: list[str]) -> T | None:
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    before = len(problems)
    for field in dataclasses.fields(typing.cast("Any", cls)):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            values[field.name] = _build(typing.cast("type[Any]", kind), environ, prefix, known, problems)
            continue
        name = prefix + field.name.upper()
        known.add(name)
        if name in environ:
            try:
                values[field.name] = _value(kind, environ[name])
            except ValueError as error:
                # A secret's text must not reach the terminal through the message that refuses it.
                problems.append(f"{name}: {error}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{name}: required, and not set")
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except ValueError as error:
        problems.append(f"{prefix}*: {error}")
        return None


def _value(kind: Any, text: str) -> Any:
    if isinstance(kind, types.UnionType):
        kind = next(option for option in typing.get_args(kind) if option is not types.NoneType)
    if kind is bool:
        if text.lower() not in _WORDS:
            raise ValueError(f"{text!r} is not one of {', '.join(_WORDS)}")
        return _WORDS[text.lower()]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number of type {kind.__name__}") from None
    if typing.get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind in (str, Path, Secret):
        return kind(text)
    raise TypeError(f"settings cannot hold {kind}")
