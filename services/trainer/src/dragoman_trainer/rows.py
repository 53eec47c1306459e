# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled texts read from a file, whatever its layout.

Owns the layouts; the file's suffix and first rows decide. It neither splits nor judges rows; data does.

    .jsonl  one {"text": ..., "label": ...} per line
    .tab    tab-separated with a header that names a label and a text column; Orange's two extra header rows are skipped
    .csv    with such a header, or without one in the AG_NEWS layout: class number from 1, title, description, whose
            class names stand in classes.txt beside it, one per line
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dragoman_common.errors import InvalidArgumentError, NotFoundError

SUFFIXES = (".tab", ".csv", ".jsonl")
MAX_FILE_BYTES = 2 << 30
MAX_TEXT_CHARS = 1 << 20

_TEXT_COLUMNS = ("text", "description", "content")
_LABEL_COLUMNS = ("label", "category", "class")
_ORANGE_TYPES = frozenset({"d", "c", "s", "t", "discrete", "continuous", "string", "time"})


@dataclass(frozen=True, slots=True)
class Row:
    """One text with the name of its label; either may be empty, which data reports and drops."""

    label: str
    text: str


def read_rows(path: Path) -> list[Row]:
    """Read all rows of a file, in order.

    Raises:
        NotFoundError: the file does not exist.
        InvalidArgumentError: an unknown suffix or layout, or a damaged row; the line is named.
    """
    if path.suffix not in SUFFIXES:
        raise InvalidArgumentError(f"{path.name}: the name must end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise NotFoundError(f"data file {path} does not exist")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InvalidArgumentError(f"{path.name}: over the limit of {MAX_FILE_BYTES} bytes")
    try:
        if path.suffix == ".jsonl":
            return list(_json_rows(path))
        return list(_table_rows(path))
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{path.name}: not UTF-8 text") from error
    except csv.Error as error:
        raise InvalidArgumentError(f"{path.name}: {error}") from error


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidArgumentError(f"{path.name}: line {number} is not JSON") from error
            if not isinstance(value, dict):
                raise InvalidArgumentError(f"{path.name}: line {number} must be an object")
            text, label = value.get("text"), value.get("label")
            if not isinstance(text, str) or not isinstance(label, str):
                raise InvalidArgumentError(f"{path.name}: line {number} must have the strings 'text' and 'label'")
            yield Row(label.strip(), text.strip())


def _table_rows(path: Path) -> Iterator[Row]:
    # The reader's default refuses a field over 128 KiB; a long post is legitimate.
    csv.field_size_limit(MAX_TEXT_CHARS)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, dialect="excel-tab" if path.suffix == ".tab" else "excel", strict=True)
        first = next(reader, None)
        if first is None:
            return
        columns = _columns(first)
        if columns is None and path.suffix == ".csv":
            yield from _ag_news_rows(path, first, reader)
            return
        if columns is None:
            wanted = f"one of {', '.join(_LABEL_COLUMNS)} and one of {', '.join(_TEXT_COLUMNS)}"
            raise InvalidArgumentError(f"{path.name}: the header must name {wanted}")
        label_column, text_column = columns
        is_orange = False
        for cells in reader:
            if reader.line_num == 2 and cells and all(cell.strip() in _ORANGE_TYPES for cell in cells):
                is_orange = True
                continue
            if (is_orange and reader.line_num == 3) or not cells:
                continue
            if len(cells) != len(first):
                raise InvalidArgumentError(
                    f"{path.name}: line {reader.line_num} has {len(cells)} columns, not {len(first)}"
                )
            yield Row(cells[label_column].strip(), cells[text_column].strip())


def _columns(header: list[str]) -> tuple[int, int] | None:
    names = [cell.strip().lower() for cell in header]
    label = next((names.index(name) for name in _LABEL_COLUMNS if name in names), None)
    text = next((names.index(name) for name in _TEXT_COLUMNS if name in names), None)
    return None if label is None or text is None else (label, text)


def _ag_news_rows(path: Path, first: list[str], rest: Iterator[list[str]]) -> Iterator[Row]:
    names = _class_names(path.parent / "classes.txt")
    for number, cells in enumerate([first, *rest], start=1):
        if not cells:
            continue
        if len(cells) < 2 or not cells[0].strip().isdecimal():
            raise InvalidArgumentError(f"{path.name}: row {number} must be a class number, a title and a description")
        index = int(cells[0])
        if names and not 1 <= index <= len(names):
            raise InvalidArgumentError(f"{path.name}: row {number} has class {index}; classes.txt lists {len(names)}")
        label = names[index - 1] if names else str(index)
        yield Row(label, " ".join(cell.strip() for cell in cells[1:] if cell.strip()))


def _class_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
