# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a run measured, printed (pytest -s) and appended to the file that DRAGOMAN_TEST_FIGURES names."""

import os
import sys
from pathlib import Path


def note(line):
    """Keep one line."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    text = f"{line} (load {load})"
    sys.stdout.write(f"\n{text}\n")
    if name := os.environ.get("DRAGOMAN_TEST_FIGURES"):
        with Path(name).open("a") as file:
            file.write(text + "\n")
