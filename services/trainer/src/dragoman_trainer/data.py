# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A data set as training sees it: train, dev and test apart, with a report on what is wrong with them.

Owns the split, the label order, the digests and the hygiene report. The dev part is what every choice is made on; the
test part is read once, at the end. It does not tokenise.

    folder -> rows per file -> empty rows dropped -> labels -> stratified dev part of train -> Corpus + Hygiene
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dragoman_common.errors import InvalidArgumentError, NotFoundError
from dragoman_trainer.rows import SUFFIXES, Row, read_rows

_NOT_WORD = re.compile(r"\W+")
_SMALL_CLASS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """N texts with the indices of their labels.

    Attributes:
        digest: sha256 in hex over the rows' labels and texts in order.
    """

    texts: tuple[str, ...]
    labels: NDArray[np.int64]
    digest: str

    def __len__(self) -> int:
        """N."""
        return len(self.texts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hygiene:
    """What the files hold that a reader of the results should know. Nothing but empty rows is changed.

    Attributes:
        num_empty: Rows without text or label that were dropped, per file.
        num_duplicates: Rows whose text (letters and digits, lower case) occurred before in the same file.
        num_overlapping: Test rows whose text also stands in train or dev.
        class_sizes: Rows per label in train and dev together.
    """

    num_rows: Mapping[str, int]
    num_empty: Mapping[str, int]
    num_duplicates: Mapping[str, int]
    num_overlapping: int
    class_sizes: Mapping[str, int]

    def lines(self) -> list[str]:
        """Return the report for people, one fact per line."""
        sizes = sorted(self.class_sizes.values())
        return [
            "rows: " + ", ".join(f"{part} {count}" for part, count in self.num_rows.items()),
            "empty rows dropped: " + ", ".join(f"{part} {count}" for part, count in self.num_empty.items()),
            "duplicates kept: " + ", ".join(f"{part} {count}" for part, count in self.num_duplicates.items()),
            f"test rows whose text is also in train: {self.num_overlapping}",
            f"labels: {len(sizes)}, from {sizes[0]} to {sizes[-1]} training rows",
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """A data set, split. Label indices follow label_names, which is sorted."""

    name: str
    label_names: tuple[str, ...]
    train: Split
    dev: Split
    test: Split
    hygiene: Hygiene
    licence: str


def load_corpus(name: str, data_dir: Path, *, dev_fraction: float, dev_seed: int) -> Corpus:
    """Load ``<data_dir>/<name>``.

    Args:
        name: The data set's folder name.
        data_dir: Where data sets lie.
        dev_fraction: Share of each class of train that becomes dev, when the folder has no dev file.
        dev_seed: Seed of that choice; independent of the training seed, so that runs share their dev part.

    Raises:
        NotFoundError: the folder or its train or test file is missing; the message says how to get it.
        InvalidArgumentError: a part is empty, there is only one class, or test has a label that train lacks.
    """
    files = part_files(name, data_dir)
    raw = {part: read_rows(path) for part, path in files.items()}
    rows = {part: [row for row in found if row.text and row.label] for part, found in raw.items()}
    for part, kept in rows.items():
        if not kept:
            raise InvalidArgumentError(
                f"data set {name!r}: {files[part].name} has no rows with text and label ({len(raw[part])} without one "
                "of them); at least one is needed"
            )
    label_names = _label_names(name, rows, files)
    hygiene = _hygiene(raw, rows)
    if "dev" not in rows:
        held_out = stratified_sample([row.label for row in rows["train"]], fraction=dev_fraction, seed=dev_seed)
        rows["dev"] = [row for row, is_dev in zip(rows["train"], held_out, strict=True) if is_dev]
        rows["train"] = [row for row, is_dev in zip(rows["train"], held_out, strict=True) if not is_dev]
        if not rows["dev"]:
            raise InvalidArgumentError(
                f"data set {name!r}: too few rows to hold out a dev part: of a class with {_SMALL_CLASS} rows or more "
                f"the recipe's data.dev_fraction of {dev_fraction:g} is taken, and that is none here; "
                "add rows, raise data.dev_fraction, or put a dev file beside train"
            )
    index = {label: position for position, label in enumerate(label_names)}
    splits = {part: _split(found, index) for part, found in rows.items()}
    return Corpus(
        name=name,
        label_names=label_names,
        train=splits["train"],
        dev=splits["dev"],
        test=splits["test"],
        hygiene=hygiene,
        licence=_licence(data_dir / name),
    )


def stratified_sample(labels: Sequence[str], *, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose about ``fraction`` of each class; a class of fewer than 10 rows is left whole.

    Returns:
        One flag per row, True where it was chosen.
    """
    generator = np.random.default_rng(seed)
    names = np.array(labels)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in sorted(set(labels)):
        members = np.flatnonzero(names == label)
        if len(members) >= _SMALL_CLASS:
            chosen[generator.permutation(members)[: round(len(members) * fraction)]] = True
    return chosen


def shuffle_labels(split: Split, seed: int) -> Split:
    """Return the split with its labels permuted at random: same class sizes, nothing left to learn.

    A model trained on it is what a quality gate must refuse.
    """
    labels = np.random.default_rng(seed).permutation(split.labels)
    return Split(split.texts, labels, _digest(zip(map(str, labels), split.texts, strict=True)))


def merge(first: Split, second: Split) -> Split:
    """Return both splits as one."""
    texts = first.texts + second.texts
    labels = np.concatenate([first.labels, second.labels])
    return Split(texts, labels, _digest(zip(map(str, labels), texts, strict=True)))


def part_files(name: str, data_dir: Path) -> dict[str, Path]:
    """Return the files of a data set's parts: train and test, and dev if there is one.

    Raises:
        NotFoundError: the folder or its train or test file is missing; the message says how to get it.
    """
    folder = data_dir / name
    if not folder.is_dir():
        raise NotFoundError(f"data set {name!r} is not in {data_dir}; fetch it with 'dragoman data get {name}'")
    candidates = {part: [folder / f"{part}{suffix}" for suffix in SUFFIXES] for part in ("train", "dev", "test")}
    found = {part: path for part, paths in candidates.items() for path in paths if path.is_file()}
    for part in ("train", "test"):
        if part not in found:
            names = ", ".join(path.name for path in candidates[part])
            raise NotFoundError(f"data set {name!r}: {folder} has no {part} file (one of {names})")
    return found


def _label_names(name: str, rows: Mapping[str, Sequence[Row]], files: Mapping[str, Path]) -> tuple[str, ...]:
    known = {row.label for row in rows["train"]}
    if len(known) < 2:
        raise InvalidArgumentError(
            f"data set {name!r}: {files['train'].name} has the single label {next(iter(known))[:80]!r}; "
            "at least two are needed"
        )
    for part in rows:
        strange = next((row for row in rows[part] if row.label not in known), None)
        if strange is not None:
            raise InvalidArgumentError(
                f"data set {name!r}: {files[part].name}, line {strange.line}: {part} has the label "
                f"{strange.label[:80]!r}, which train lacks; add rows of it to train, or take them out"
            )
    return tuple(sorted(known))


def _hygiene(raw: Mapping[str, Sequence[Row]], rows: Mapping[str, Sequence[Row]]) -> Hygiene:
    keys = {part: [_NOT_WORD.sub(" ", row.text.lower()).strip() for row in found] for part, found in rows.items()}
    seen = {key for part, found in keys.items() if part != "test" for key in found}
    return Hygiene(
        num_rows={part: len(found) for part, found in rows.items()},
        num_empty={part: len(raw[part]) - len(found) for part, found in rows.items()},
        num_duplicates={part: len(found) - len(set(found)) for part, found in keys.items()},
        num_overlapping=sum(key in seen for key in keys["test"]),
        class_sizes=dict(Counter(row.label for part in rows if part != "test" for row in rows[part]).most_common()),
    )


def _split(rows: Sequence[Row], index: Mapping[str, int]) -> Split:
    labels = np.array([index[row.label] for row in rows], dtype=np.int64)
    return Split(tuple(row.text for row in rows), labels, _digest((row.label, row.text) for row in rows))


def _digest(pairs: Iterable[tuple[str, str]]) -> str:
    hasher = hashlib.sha256()
    for pair in pairs:
        hasher.update(json.dumps(pair, ensure_ascii=True).encode() + b"\n")
    return hasher.hexdigest()


def _licence(folder: Path) -> str:
    try:
        source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "not stated"
    licence = source.get("licence") if isinstance(source, dict) else None
    return licence if isinstance(licence, str) else "not stated"
