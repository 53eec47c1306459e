# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""BBC News as folders of articles, turned into a split in the AG_NEWS layout.

The collection has no official split and 103 near-verbatim copies. So: articles that are equal after lower-casing and
removing everything but letters and digits are kept once (the first in path order); then each class is shuffled with
seed 0 and cut 80 % train, 10 % dev, 10 % test. Written as ``class,title,description`` rows without a header, classes
numbered from 1 in alphabetical order, their names in classes.txt: the layout of AG_NEWS.

    {"business/001.txt": bytes} -> texts -> unique -> 80/10/10 per class -> train.csv, dev.csv, test.csv, classes.txt
"""

import csv
import random
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

SPLIT_SEED = 0
_NOT_WORD = re.compile(r"\W+")


def write_split(articles: Mapping[str, bytes], target: Path) -> dict[str, int]:
    """Write the split's files into a folder.

    Args:
        articles: ``class/file`` -> the article's bytes; the first line is its title.
        target: An existing folder.

    Returns:
        The number of rows of each file.
    """
    by_class = _unique_by_class(articles)
    names = sorted(by_class)
    parts: dict[str, list[tuple[int, str, str]]] = {"train": [], "dev": [], "test": []}
    shuffler = random.Random(SPLIT_SEED)  # noqa: S311 - a reproducible split, not a secret
    for number, name in enumerate(names, start=1):
        rows = [(number, title, body) for title, body in by_class[name]]
        shuffler.shuffle(rows)
        held_out = round(len(rows) / 10)
        parts["dev"] += rows[:held_out]
        parts["test"] += rows[held_out : 2 * held_out]
        parts["train"] += rows[2 * held_out :]
    (target / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    for part, rows in parts.items():
        with (target / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return {part: len(rows) for part, rows in parts.items()}


def _unique_by_class(articles: Mapping[str, bytes]) -> dict[str, list[tuple[str, str]]]:
    seen: set[str] = set()
    by_class: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(articles):
        text = _decode(articles[path])
        key = _NOT_WORD.sub(" ", text.lower()).strip()
        if key in seen:
            continue
        seen.add(key)
        title, _, body = text.strip().partition("\n")
        by_class.setdefault(PurePosixPath(path).parts[0], []).append((title.strip(), " ".join(body.split())))
    return by_class


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # One article of the collection is Latin-1: its pound signs are not UTF-8.
        return data.decode("latin-1")
