# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes' own types say about objects: `strict/main.go`, built by Go once a machine. Asks no cluster."""

import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.parts.cache import made_once
from tests.parts.missing import MissingPartError

SOURCE = Path(__file__).resolve().parent / "strict"
_BUILD_S = 1200


@cache
def binary() -> Path:
    """Return the program.

    Raises:
        MissingPartError: no Go, or it cannot build it.
    """
    content = b"".join(path.read_bytes() for path in sorted(SOURCE.iterdir()))
    return made_once("kubernetes-types", hashlib.sha256(content).hexdigest()[:16], _build) / "strict"


def _build(folder: Path) -> None:
    if shutil.which("go") is None:
        raise MissingPartError("there is no Go to build tests/deploy/strict with")
    built = subprocess.run(
        ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(folder / "strict"), "."],
        cwd=SOURCE,
        env={**os.environ, "GOFLAGS": "-mod=readonly"},
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        check=False,
    )
    if built.returncode:
        raise MissingPartError(f"go build tests/deploy/strict: {' '.join(built.stderr.split())[-400:]}")


def problems(objects: str) -> list[str]:
    """What is wrong with a YAML stream of objects: unknown kinds and fields, values of another type."""
    done = subprocess.run([str(binary())], input=objects, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    return lines[:-1]
