# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A look at a user's own files before they are kept: said in the terminal now, not by a job that fails later.

Owns what `data add` refuses. The trainer's rules are the ones that count, and are not imported: services share no code.
What passes here is read by the same layouts there.

    train, test -> UTF-8 lines -> layout (header, AG_NEWS, objects) -> labels of rows with text -> >= 2, none strange
"""

import csv
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

from dragoman_client.text_check import decoded_line
from dragoman_common.errors import InvalidArgumentError, NotFoundError

SUFFIXES = (".tab", ".csv", ".jsonl")
TEXT_COLUMNS = ("text", "description", "content")
LABEL_COLUMNS = ("label", "category", "class")
MAX_TEXT_CHARS = 1 << 20
_CLASS_NUMBER = re.compile(r"[0-9]{1,9}")
_SHOWN = 8


def check_split(train: Path, test: Path) -> None:
    """See that the two files can be a data set.

    Raises:
        NotFoundError: a file does not exist.
        InvalidArgumentError: another suffix, a folder, or content that no training can use; file and line are named.
    """
    names = _class_names(train.parent / "classes.txt")
    known = {label for _, label in _labelled(train, "train", names)}
    if len(known) < 2:
        raise InvalidArgumentError(
            f"train file {train}: all rows have the label {known.pop()!r}; at least two are needed"
        )
    for line, label in _labelled(test, "test", names):
        if label not in known:
            raise InvalidArgumentError(
                f"test file {test}, line {line}: the label {label[:80]!r} does not occur in the train file"
            )


def _labelled(path: Path, part: str, class_names: list[str]) -> list[tuple[int, str]]:
    """Line and label of each row that has a text and a label; at least one."""
    what = f"{part} file {path}"
    if path.suffix not in SUFFIXES:
        raise InvalidArgumentError(f"{what}: the name must end in {', '.join(SUFFIXES)}")
    if not path.exists():
        raise NotFoundError(f"{what} does not exist")
    if not path.is_file():
        raise InvalidArgumentError(f"{what} is a folder, must be a file")
    rows = _objects(path, what) if path.suffix == ".jsonl" else _table(path, what, class_names)
    found = [(line, label.strip()) for line, label, text in rows if label.strip() and text.strip()]
    if not found:
        raise InvalidArgumentError(f"{what}: no row with a text and a label")
    return found


def _lines(path: Path, what: str) -> Iterator[str]:
    with path.open("rb") as file:
        for number, data in enumerate(file, start=1):
            if number == 1 and data.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise InvalidArgumentError(f"{what}, line 1: UTF-16 text; save it as UTF-8")
            if b"\0" in data:
                raise InvalidArgumentError(
                    f"{what}, line {number}: a zero byte, so no text file; export it as text first"
                )
            yield decoded_line(data.removeprefix(b"\xef\xbb\xbf") if number == 1 else data, what, number)


def _objects(path: Path, what: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(_lines(path, what), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise InvalidArgumentError(f"{what}, line {number}: not JSON; each line must be one object") from None
        fields = value if isinstance(value, dict) else {}
        label, text = fields.get("label"), fields.get("text")
        if not isinstance(label, str) or not isinstance(text, str):
            raise InvalidArgumentError(f"{what}, line {number}: must be an object with the strings 'text' and 'label'")
        _check_length(text, f"{what}, line {number}")
        yield number, label, text


def _table(path: Path, what: str, class_names: list[str]) -> Iterator[tuple[int, str, str]]:
    csv.field_size_limit(MAX_TEXT_CHARS)
    reader = csv.reader(_lines(path, what), dialect="excel-tab" if path.suffix == ".tab" else "excel", strict=True)
    try:
        header = next(reader, [])
        columns = _columns(header)
        if columns is None and not _is_ag_news(path, header):
            raise InvalidArgumentError(_header_complaint(path, what, header))
        for cells in itertools.chain([header] if columns is None else [], reader):
            line = reader.line_num
            if not cells:
                continue
            if columns is None:
                if class_names and _is_ag_news(path, cells) and not 1 <= int(cells[0]) <= len(class_names):
                    raise InvalidArgumentError(
                        f"{what}, line {line}: class {cells[0]}, and classes.txt beside the train file "
                        f"names {len(class_names)}"
                    )
                if not _is_ag_news(path, cells):
                    raise InvalidArgumentError(
                        f"{what}, line {line}: must be a class number, a title and a description"
                    )
                yield line, cells[0], " ".join(cells[1:])
                continue
            if len(cells) != len(header):
                raise InvalidArgumentError(
                    f"{what}, line {line}: {len(cells)} columns, not {len(header)} as the header; "
                    "put quotation marks around a field that holds the separator"
                )
            yield line, cells[columns[0]], cells[columns[1]]
    except csv.Error as error:
        raise InvalidArgumentError(f"{what}, line {reader.line_num}: {error}; check its quotation marks") from None


def _class_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line.strip() for line in _lines(path, str(path)) if line.strip()]


def _columns(header: list[str]) -> tuple[int, int] | None:
    names = [cell.strip().lower() for cell in header]
    label = next((names.index(name) for name in LABEL_COLUMNS if name in names), None)
    text = next((names.index(name) for name in TEXT_COLUMNS if name in names), None)
    return None if label is None or text is None else (label, text)


def _is_ag_news(path: Path, cells: list[str]) -> bool:
    return path.suffix == ".csv" and len(cells) > 1 and _CLASS_NUMBER.fullmatch(cells[0].strip()) is not None


def _header_complaint(path: Path, what: str, header: list[str]) -> str:
    separator = "a tab" if path.suffix == ".tab" else "','"
    found = ", ".join(repr(name[:40]) for name in header[:_SHOWN]) or "nothing"
    wanted = (
        f"{what}, line 1: the header must name one of {', '.join(TEXT_COLUMNS)} and one of {', '.join(LABEL_COLUMNS)}, "
        f"with {separator} between; found {found}"
    )
    other = next((name for sign, name in ((";", "';'"), ("\t", "a tab"), (",", "','")) if sign in "".join(header)), "")
    if len(header) == 1 and other:
        return f"{wanted}. The separator seems to be {other}: save the file with {separator}"
    return wanted


def _check_length(text: str, where: str) -> None:
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidArgumentError(f"{where}: a text of {len(text):,} characters, at most {MAX_TEXT_CHARS:,}")
