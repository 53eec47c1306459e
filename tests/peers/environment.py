# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Environments of their own for peers: programs that cannot, or must not, share ours.

tritonclient registers the same protobuf symbols as our generated code and pins another protobuf, so it never shares a
process with Dragoman. Each environment is made once, from a lock with hashes, under build/peers/.
"""

import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_BUILD = _HERE.parents[1] / "build" / "peers"
TRITON_PEER = _HERE / "triton_peer.py"
"""The program to run with `tritonclient_python()`."""


def tritonclient_python() -> Path:
    """The interpreter of an environment that holds tritonclient; makes it at the first call.

    Safe to call from several processes at once. An environment of an older lock, or one left half made, is made again.

    Raises:
        subprocess.CalledProcessError: a package could not be fetched, or its hash differs.
    """
    return _python_of("tritonclient", _HERE / "requirements-tritonclient.lock")


def _python_of(name: str, lock: Path) -> Path:
    folder = _BUILD / name
    python, marker = folder / "bin" / "python", folder / "lock.sha256"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    _BUILD.mkdir(parents=True, exist_ok=True)
    with (_BUILD / f"{name}.making").open("w") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        if marker.exists() and marker.read_text() == digest:
            return python
        venv.create(folder, clear=True, with_pip=True)
        install = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
            "-r",
            lock,
        ]
        subprocess.run(install, check=True, stdout=sys.stderr)
        marker.write_text(digest)
    return python
