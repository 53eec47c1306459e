# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""This library as the "adapter" that conformance suites of OpenSSF Model Signing drive, for the key method.

    adapter.py verify-model --method key --model-path PATH --public-key PEM --bundle FILE [--ignore-paths PATH]...

Exits with 0 when the signature holds, with 1 when not, with 2 for what it does not do: sign (the registry signs what it
holds, never a folder), other methods, and leaving files out that nobody signed.
"""

import argparse
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from dragoman_common.errors import DragomanError
from dragoman_models.model_signature import verify_signed_folder


def verify(given: argparse.Namespace) -> None:
    root: Path = given.model_path
    inside = [path for path in (*given.ignore_paths, given.bundle) if path.is_relative_to(root)]
    key = serialization.load_pem_public_key(given.public_key.read_bytes())
    verify_signed_folder(
        root, given.bundle.read_bytes(), key, ignored=[path.relative_to(root).as_posix() for path in inside]
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["verify-model"])
    parser.add_argument("--method", choices=["key"], required=True)
    for name in ("--model-path", "--bundle", "--public-key"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--ignore-paths", type=Path, action="append", default=[])
    given = parser.parse_args()
    try:
        verify(given)
    except (DragomanError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
