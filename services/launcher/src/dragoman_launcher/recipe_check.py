# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe before anything is started: form, overrides, data sets. Pure but for one look at the data folder.

    YAML text --form--> mapping --overrides by dotted key--> effective recipe --data set--> is its folder here?
                                                                              `-- store:NAME[@digest]: for whoever asks

What the keys mean and which are allowed is the trainer's to say, through the port RecipeChecker. Here is what must
hold before the text is handed to another process: it is small, it is plain data (no tags, no anchors: an alias
can make kilobytes into gigabytes), no key appears twice, and the data set is a name that cannot leave the data folder.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.names import RULE, is_name

MAX_DEPTH: Final = 16
MAX_OVERRIDES: Final = 100
MAX_OVERRIDE_BYTES: Final = 4096
MAX_REQUEST_ID_CHARS: Final = 128

DATA_SET_KEYS: Final = (("data", "name"), ("rnn", "vectors"))
"""The recipe's keys that name a folder of data: seen to before a job is made, not when it fails an hour later."""

STORE_PREFIX: Final = "store:"

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}")
_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")


class RecipeError(InvalidArgumentError):
    """The recipe cannot be used as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredData:
    """A data set that the recipe wants from the registry's store."""

    section: str
    key: str
    name: str
    sha256: str
    """Empty: the newest of the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRecipe:
    effective: str
    stored: tuple[StoredData, ...] = ()

    def pinned(self, digests: Mapping[StoredData, str]) -> str:
        """The effective recipe with the digest of each stored data set: what a name means must not change under it."""
        if all(stored.sha256 for stored in self.stored):
            return self.effective
        content = yaml.safe_load(self.effective)
        for stored in self.stored:
            content[stored.section][stored.key] = f"{STORE_PREFIX}{stored.name}@{digests[stored]}"
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def check_request(request_id: str, model: str) -> None:
    """Check the two names of a submission.

    Raises:
        InvalidArgumentError: which one, and its form.
    """
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidArgumentError(
            f"request_id must have 1 to {MAX_REQUEST_ID_CHARS} printable ASCII characters, no spaces."
        )
    _check_name("model", model)


def check_recipe(
    recipe: str, overrides: Mapping[str, str], *, max_recipe_bytes: int, data_dir: Path | None
) -> CheckedRecipe:
    """Parse a recipe, apply the overrides, and see that its data set is there, unless data_dir is None.

    Raises:
        RecipeError: naming the key, and the line where there is one.
    """
    num_bytes = len(recipe.encode())
    if num_bytes > max_recipe_bytes:
        raise RecipeError(f"recipe has {num_bytes} bytes; at most {max_recipe_bytes}.")
    content = _parsed(recipe, "recipe")
    if not isinstance(content, dict):
        raise RecipeError("recipe must be a mapping of keys to values at its top.")
    _check_overrides(overrides)
    for key, text in overrides.items():
        _set(content, key, _scalar(key, text))
    stored = _data_sets(content, data_dir)
    # Without overrides the trainer sees the submitted text itself, so that its errors name the submitter's lines.
    effective = recipe if not overrides else yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return CheckedRecipe(effective=effective, stored=stored)


def _data_sets(content: Mapping[Any, Any], data_dir: Path | None) -> tuple[StoredData, ...]:
    found: list[StoredData] = []
    for section, key in DATA_SET_KEYS:
        values = content.get(section)
        if not isinstance(values, dict) or key not in values:
            if (section, key) == DATA_SET_KEYS[0]:
                raise RecipeError("data.name is missing: the recipe must say which data set it trains on.")
            continue
        field, name = f"{section}.{key}", values[key]
        if not isinstance(name, str):
            raise RecipeError(f"{field} must be a text.")
        if name.startswith(STORE_PREFIX):
            found.append(_stored(section, key, name.removeprefix(STORE_PREFIX)))
            continue
        _check_name(field, name)
        if data_dir is not None and not (data_dir / name).is_dir():
            raise RecipeError(
                f"{field}: {name!r} is not in the data folder; `dragoman data get {name}` fetches what we know, "
                f"and {STORE_PREFIX}{name} names what `dragoman data put {name}` has put into the store."
            )
    return tuple(found)


def _stored(section: str, key: str, text: str) -> StoredData:
    name, at, sha256 = text.partition("@")
    if not is_name(name) or (at and not _SHA256.fullmatch(sha256)):
        raise RecipeError(
            f"{section}.{key} must be {STORE_PREFIX}NAME, or {STORE_PREFIX}NAME@DIGEST with 64 hexadecimal digits; "
            f"a name has {RULE}."
        )
    return StoredData(section=section, key=key, name=name, sha256=sha256)


def _check_name(field: str, name: str) -> None:
    if not is_name(name):
        raise RecipeError(f"{field} must have {RULE}.")


def _check_overrides(overrides: Mapping[str, str]) -> None:
    if len(overrides) > MAX_OVERRIDES:
        raise RecipeError(f"overrides has {len(overrides)} entries; at most {MAX_OVERRIDES}.")
    for key, value in overrides.items():
        if not _KEY.fullmatch(key):
            raise RecipeError(f"overrides: {key[:80]!r} is not a dotted key such as training.epochs (at most 8 parts).")
        if len(value.encode()) > MAX_OVERRIDE_BYTES:
            raise RecipeError(f"overrides.{key} has more than {MAX_OVERRIDE_BYTES} bytes.")


def _scalar(key: str, text: str) -> Any:
    value = _parsed(text, f"overrides.{key}")
    if isinstance(value, dict | list):
        raise RecipeError(f"overrides.{key} must be one value, not a list or a mapping.")
    return value


def _set(content: dict[Any, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    place = content
    for depth, part in enumerate(parents, 1):
        below = place.setdefault(part, {})
        if not isinstance(below, dict):
            raise RecipeError(f"overrides.{key}: {'.'.join(parents[:depth])} is a value in the recipe, not a mapping.")
        place = below
    if isinstance(place.get(last), dict):
        raise RecipeError(f"overrides.{key}: the recipe has a mapping there; name one of the keys below it.")
    place[last] = value


def _parsed(text: str, field: str) -> Any:
    try:
        # The events come from a loop, not a recursion: the depth is known before anything recurses over it.
        _check_events(yaml.parse(text, Loader=yaml.SafeLoader), field)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _check_keys(root, field)
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeError(f"{field}{_at(mark)}: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{field}: {' '.join(str(error).split())[:300]}.") from None
    except (ValueError, OverflowError) as error:
        # For instance a date such as 2026-02-31.
        raise RecipeError(f"{field}: a value does not parse ({error}).") from None


def _check_events(events: Iterable[yaml.Event], field: str) -> None:
    depth = 0
    documents = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        if documents > 1:
            raise RecipeError(f"{field}{_at(event.start_mark)}: a second document starts; there must be one.")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise RecipeError(f"{field}{_at(event.start_mark)}: anchors and aliases (& and *) are not allowed.")
        if getattr(event, "tag", None) is not None:
            raise RecipeError(f"{field}{_at(event.start_mark)}: tags (!) are not allowed.")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise RecipeError(f"{field}{_at(event.start_mark)}: nested deeper than {MAX_DEPTH} levels.")


def _check_keys(node: yaml.Node, field: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, field)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            raise RecipeError(f"{field}{_at(key.start_mark)}: a key must be a plain text.")
        if key.value in seen:
            raise RecipeError(f"{field}{_at(key.start_mark)}: the key {key.value[:80]!r} appears twice.")
        seen.add(key.value)
        _check_keys(value, field)


def _at(mark: Any) -> str:
    return "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
