# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Parts that are fetched or built once a machine, in $XDG_CACHE_HOME/dragoman/parts/<part>/<version>; and free ports.

Maven is the way to what Maven Central holds: its own settings say where that is.
"""

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.parts.missing import MissingPartError

COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
FETCH_S = 600


def made_once(part: str, version: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of this part and version; if there is none yet, make fills an empty one, which is moved there.

    Two runs on one machine make it once: the second waits for the first.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dragoman" / "parts" / part
    made = root / version
    if made.is_dir():
        return made
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_dir():
            with tempfile.TemporaryDirectory(dir=root) as work:
                filled = Path(work) / "filled"
                filled.mkdir()
                make(filled)
                filled.rename(made)
    return made


def from_maven(artifacts: Sequence[str], hashes: Mapping[str, str], into: Path) -> None:
    """Copy the artifacts (group:name:version) and all that they need at run time into a folder.

    Args:
        artifacts: What to ask for.
        hashes: SHA-256 of every file that must come, by file name: so what they need is pinned, too.
        into: An empty folder.

    Raises:
        MissingPartError: no Maven, or it fetched other files than the named ones.
    """
    if shutil.which("mvn") is None:
        raise MissingPartError(f"there is no Maven to fetch {artifacts[0]} with")
    sys.stderr.write(f"fetching {', '.join(artifacts)} with Maven, once\n")
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "pom.xml").write_text(_pom(artifacts))
        fetched = subprocess.run(
            [
                "mvn",
                "--quiet",
                "--batch-mode",
                COPY_DEPENDENCIES,
                "-DincludeScope=runtime",
                f"-DoutputDirectory={into}",
            ],
            cwd=work,
            capture_output=True,
            text=True,
            timeout=FETCH_S,
            check=False,
        )
    if fetched.returncode:
        raise MissingPartError(f"Maven could not fetch {artifacts[0]}: {' '.join(fetched.stdout.split())[-400:]}")
    got = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in into.iterdir()}
    if got != hashes:
        differing = sorted(name for name in got.keys() | hashes.keys() if got.get(name) != hashes.get(name))
        raise MissingPartError(f"of {artifacts[0]} these files are not the pinned ones: {', '.join(differing)}")


def pinned(path: Path) -> dict[str, str]:
    """Return SHA-256 by file name of a list as sha256sum writes it."""
    return {name: digest for digest, name in (line.split() for line in path.read_text().splitlines())}


def free_ports(count: int) -> list[int]:
    """Return different loopback ports on which nobody listens at this moment."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _pom(artifacts: Sequence[str]) -> str:
    tags = ("groupId", "artifactId", "version")

    def coordinates(artifact: str) -> str:
        return "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, artifact.split(":"), strict=True))

    dependencies = "".join(f"<dependency>{coordinates(artifact)}</dependency>" for artifact in artifacts)
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        f"{coordinates('dragoman:parts:1')}<packaging>pom</packaging>"
        f"<dependencies>{dependencies}</dependencies></project>\n"
    )
