# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled texts read from a file, whatever its layout.

Owns the layouts; the file's suffix and first rows decide. It neither splits nor judges rows; data does.

    .jsonl  one {"text": ..., "label": ...} per line
    .tab    tab-separated with a header that names a label and a text column; Orange's two extra header rows are skipped
    .csv    comma-separated with such a header, or without one in the AG_NEWS layout: class number from 1, title,
            description, whose class names stand in classes.txt beside it, one per line

Files are UTF-8; a byte order mark is passed over. Every complaint names the file, the line, and what to do.
"""

import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dragoman_common.errors import InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from _csv import Reader

SUFFIXES = (".tab", ".csv", ".jsonl")
MAX_FILE_BYTES = 2 << 30
MAX_TEXT_CHARS = 1 << 20

TEXT_COLUMNS = ("text", "description", "content")
LABEL_COLUMNS = ("label", "category", "class")
_ORANGE_TYPES = frozenset({"d", "c", "s", "t", "discrete", "continuous", "string", "time"})
_CLASS_NUMBER = re.compile(r"[0-9]{1,9}")
_HEAD_BYTES = 4096
_SHOWN_COLUMNS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One text with the name of its label; either may be empty, which data reports and drops.

    Attributes:
        line: Of the file, counted from 1; of a row over several lines, the last.
    """

    label: str
    text: str
    line: int = field(default=0, compare=False)


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
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InvalidArgumentError(f"{path.name}: {size:,} bytes, the limit is {MAX_FILE_BYTES:,}; keep fewer rows")
    _check_text_file(path)
    try:
        if path.suffix == ".jsonl":
            return list(_json_rows(path))
        return list(_table_rows(path))
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error


def _check_text_file(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidArgumentError(f"{path.name}: line 1: UTF-16 text; save it as UTF-8")
    if b"\0" in head:
        line = head[: head.index(b"\0")].count(b"\n") + 1
        raise InvalidArgumentError(
            f"{path.name}: line {line}: a zero byte, so no text file; export the table as UTF-8 text first"
        )


def _not_utf8(path: Path) -> InvalidArgumentError:
    # The reader decodes in blocks and knows no line: the file is read once more to find it.
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return InvalidArgumentError(
                    f"{path.name}: line {number}: byte {error.start + 1} is 0x{line[error.start]:02x}, not UTF-8 text; "
                    "save the file as UTF-8 (iconv -f latin1 -t utf8, where it is Latin-1)"
                )
    return InvalidArgumentError(f"{path.name}: not UTF-8 text; save the file as UTF-8")


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path.name}: line {number}"
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidArgumentError(f"{where} is not JSON; each line must be one JSON object") from error
            if not isinstance(value, dict):
                raise InvalidArgumentError(f'{where} must be an object: {{"text": "...", "label": "..."}}')
            text, label = value.get("text"), value.get("label")
            if not isinstance(text, str) or not isinstance(label, str):
                raise InvalidArgumentError(f"{where} must have the strings 'text' and 'label'; found {_shown(value)}")
            if len(text) > MAX_TEXT_CHARS:
                raise InvalidArgumentError(_too_long(where))
            yield Row(label.strip(), text.strip(), number)


def _table_rows(path: Path) -> Iterator[Row]:
    # The reader's default refuses a field over 128 KiB; a long post is legitimate.
    csv.field_size_limit(MAX_TEXT_CHARS)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, dialect="excel-tab" if path.suffix == ".tab" else "excel", strict=True)
        try:
            first = next(reader, None)
            if first is not None:
                yield from _rows_of_table(path, first, reader)
        except csv.Error as error:
            raise InvalidArgumentError(_csv_complaint(f"{path.name}: line {reader.line_num}", str(error))) from error


def _rows_of_table(path: Path, first: list[str], reader: "Reader") -> Iterator[Row]:
    columns = _columns(first)
    if columns is None:
        if path.suffix == ".csv" and len(first) > 1 and _CLASS_NUMBER.fullmatch(first[0].strip()):
            yield from _ag_news_rows(path, first, reader)
            return
        raise InvalidArgumentError(_header_complaint(path, first))
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
                f"{path.name}: line {reader.line_num} has {len(cells)} columns, not {len(first)} as the header; "
                "put quotation marks around a field that holds the separator"
            )
        yield Row(cells[label_column].strip(), cells[text_column].strip(), reader.line_num)


def _columns(header: list[str]) -> tuple[int, int] | None:
    names = [cell.strip().lower() for cell in header]
    label = next((names.index(name) for name in LABEL_COLUMNS if name in names), None)
    text = next((names.index(name) for name in TEXT_COLUMNS if name in names), None)
    return None if label is None or text is None else (label, text)


def _header_complaint(path: Path, header: list[str]) -> str:
    separator = "a tab" if path.suffix == ".tab" else "','"
    wanted = (
        f"{path.name}: line 1: the header must name one of {', '.join(TEXT_COLUMNS)} and one of "
        f"{', '.join(LABEL_COLUMNS)}, with {separator} between; found {_shown(header)}"
    )
    others = [name for sign, name in ((";", "';'"), ("\t", "a tab"), (",", "','")) if any(sign in c for c in header)]
    if len(header) == 1 and others:
        return f"{wanted}. The separator seems to be {others[0]}: save the file with {separator}"
    if path.suffix == ".csv":
        return f"{wanted}. Without a header, each row is a class number, a title and a description"
    return wanted


def _csv_complaint(where: str, text: str) -> str:
    if "field limit" in text:
        return _too_long(where)
    if "unexpected end" in text:
        return f"{where}: the file ends inside quotation marks; close the field that opens them"
    return f"{where}: {text}; write a quotation mark inside a quoted field twice"


def _too_long(where: str) -> str:
    return f"{where}: a text of more than {MAX_TEXT_CHARS:,} characters, the limit; shorten it, or close its quotes"


def _shown(names: Iterable[str]) -> str:
    shown = [repr(str(name)[:40]) for name in names]
    more = f" and {len(shown) - _SHOWN_COLUMNS} more" if len(shown) > _SHOWN_COLUMNS else ""
    return ", ".join(shown[:_SHOWN_COLUMNS]) + more if shown else "nothing"


def _ag_news_rows(path: Path, first: list[str], rest: "Reader") -> Iterator[Row]:
    names = _class_names(path.parent / "classes.txt")
    for cells in itertools.chain([first], rest):
        line = rest.line_num
        if not cells:
            continue
        if len(cells) < 2 or not _CLASS_NUMBER.fullmatch(cells[0].strip()):
            raise InvalidArgumentError(
                f"{path.name}: line {line} must be a class number, a title and a description, as line 1 is; "
                "or give the file a header"
            )
        index = int(cells[0])
        if names and not 1 <= index <= len(names):
            raise InvalidArgumentError(
                f"{path.name}: line {line} has class {index}; classes.txt lists {len(names)}, one a line, from class 1"
            )
        label = names[index - 1] if names else str(index)
        yield Row(label, " ".join(cell.strip() for cell in cells[1:] if cell.strip()), line)


def _class_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    return [line.strip() for line in text.splitlines() if line.strip()]
