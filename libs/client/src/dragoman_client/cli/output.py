# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What reaches the terminal: stdout carries the answer (text for people, or JSON alone), stderr everything else."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

# A pipe has no width: lines there are as long as they are.
_PIPE_WIDTH = 400


def print_json(document: Any) -> None:
    """One JSON document on one line, written at once, so that a reader of a stream sees it now."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def say(text: str = "") -> None:
    """A line for people and for pipes: no markup, no wrapping, tabs stay tabs."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line about what happens, beside the answer."""
    Console(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False, style="dim")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people; None shows as a dash."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # An id that is cut off cannot be copied into the next command.
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)
