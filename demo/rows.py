# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The test rows of R8: what is sent, and the true labels that follow as feedback."""

import csv
from dataclasses import dataclass
from pathlib import Path

NUM_TEST_ROWS = 2189
_HEADER_ROWS = 3


@dataclass(frozen=True, slots=True)
class TestRow:
    label: str
    text: str


def read_test_rows(folder: Path) -> list[TestRow]:
    """The rows of test.tab, in order: Orange's layout, label and text below three header rows; blank lines are none."""
    with (folder / "test.tab").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, dialect="excel-tab", strict=True))[_HEADER_ROWS:]
    return [TestRow(label, text) for label, text in filter(None, rows)]
