# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/operators, by who runs them.

python -m tests.deploy.operator_commands [cluster]      a script of those that a cluster runs, for bash

Its variables: NS (a namespace), RELEASE, HELM_FLAGS (more values, such as image.tag). Needs kubectl and helm on PATH.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.deploy import helm

FOLDER = helm.ROOT / "docs/operators"
# In the order in which an operator does things.
PAGES = ("install.md", "backup.md", "upgrade.md", "alerts.md", "sizes.md", "values.md", "README.md")
_BLOCK = re.compile(r"(?:<!-- (?P<mark>run: \w+|not run: [^>]+) -->\n)?```sh\n(?P<text>.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: str
    mark: str
    text: str


def blocks() -> Iterator[Block]:
    """Every block of commands, with the mark above it, or "" where there is none."""
    for page in PAGES:
        for found in _BLOCK.finditer((FOLDER / page).read_text()):
            yield Block(page, found["mark"] or "", found["text"])


def marked(mark: str) -> list[Block]:
    """Those of one mark, such as `run: cluster`."""
    return [block for block in blocks() if block.mark == mark]


def script(mark: str) -> str:
    """Them as one script that ends at the first command that fails, and says where."""
    lines = ["set -euo pipefail", ': "${NS:?}" "${RELEASE:?}" "${HELM_FLAGS:=}"']
    for number, block in enumerate(marked(mark), start=1):
        lines += [f"echo '== {number}: {block.page}'", block.text.rstrip()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(script(f"run: {sys.argv[1] if sys.argv[1:] else 'cluster'}"))
